"""PredictResponses of a batch, written as copies of one with other numbers.

Protobuf never sees the numbers: it would copy them six times.
"""

from collections.abc import Collection, Mapping
from typing import Any

from numpy.typing import NDArray

from topicserve.protos.tensors import tensor_description
from topicserve.wire.header_names import PROTOBUF_CONTENT_TYPE
from topicserve.wire.input_record import InputRecord
from topicserve.wire.protobuf_codec import encode_predict_response
from topicserve.wire.result import Metadata
from topicserve.wire.tensor_layouts.layout import MAX_TENSORS, content_of

# Tags: a PredictResponse's outputs, the key and the value of one, the bytes of a TensorProto.
_OUTPUTS, _KEY, _VALUE, _TENSOR_CONTENT = b"\x0a", b"\x0a", b"\x12", b"\x22"


class ResponseWriter:
    """Writes the responses to the records of one call. One thread uses it."""

    content_type = PROTOBUF_CONTENT_TYPE

    def __init__(
        self,
        servable: str,
        version: int,
        signature_name: str,
        outputs: Mapping[str, NDArray[Any]],
        whole: Collection[str],
    ) -> None:
        self._origin = servable, version, signature_name
        self._outputs = outputs
        self._whole = whole
        self._contents: dict[str, memoryview] = {}
        self._templates: dict[tuple[int, tuple[str, ...]], _Template | None] = {}

    def write(
        self,
        record: InputRecord,
        start: int,
        count: int,
        found: Metadata,  # noqa: ARG002 - it stands in a header
    ) -> bytes:
        """Return the response to a record: so many rows, and the outputs it wants (none: all).

        Raises ValueError for a dtype that tensors do not have.
        """
        wanted = record.output_filter
        key = count, wanted
        if key not in self._templates:
            self._templates[key] = self._template(self._rows(start, count, wanted), count)
        template = self._templates[key]
        if template is None:
            return encode_predict_response(self._rows(start, count, wanted), *self._origin)
        return template.at(start)

    def _rows(self, start: int, count: int, wanted: Collection[str]) -> dict[str, NDArray[Any]]:
        return {
            name: column if name in self._whole else column[start : start + count]
            for name, column in self._outputs.items()
            if not wanted or name in wanted
        }

    def _template(self, outputs: Mapping[str, NDArray[Any]], count: int) -> "_Template | None":
        if not 0 < len(outputs) <= MAX_TENSORS or any(
            c.dtype.kind in "OSU" for c in outputs.values()
        ):
            return None
        for name in outputs.keys() - self._contents.keys():
            self._contents[name] = content_of(self._outputs[name])
        parts = [
            (self._contents[name], 0 if name in self._whole else column.nbytes // count)
            for name, column in outputs.items()
        ]
        pieces = [_before_elements(name, column) for name, column in outputs.items()]
        pieces.append(encode_predict_response({}, *self._origin))
        return _Template(pieces, parts, [column.nbytes for column in outputs.values()])


class _Template:
    """A response whose numbers are another's."""

    def __init__(
        self, pieces: list[bytes], contents: list[tuple[memoryview, int]], sizes: list[int]
    ) -> None:
        self._head, self._next, self._pieces = pieces[0], pieces[1], pieces[1:]
        self._only = len(contents) == 1
        self._contents = [(*one, size) for one, size in zip(contents, sizes, strict=True)]

    def at(self, start: int) -> bytes:
        """Return the response whose rows begin there."""
        if self._only:
            ((content, stride, size),) = self._contents
            first = start * stride
            return b"".join((self._head, content[first : first + size], self._next))
        parts: list[bytes | memoryview] = [self._head]
        for (content, stride, size), piece in zip(self._contents, self._pieces, strict=True):
            parts += content[start * stride : start * stride + size], piece
        return b"".join(parts)


def _before_elements(name: str, column: NDArray[Any]) -> bytes:
    """Return what stands in a PredictResponse before the elements of an output of numbers.

    Raises TensorProtoError for a dtype that tensors do not have.
    """
    described = tensor_description(column.dtype, column.shape).SerializeToString()
    elements = _TENSOR_CONTENT + _varint(column.nbytes)
    tensor_bytes = len(described) + len(elements) + column.nbytes
    key = name.encode()
    entry = _KEY + _varint(len(key)) + key + _VALUE + _varint(tensor_bytes)
    return _OUTPUTS + _varint(len(entry) + tensor_bytes) + entry + described + elements


def _varint(number: int) -> bytes:
    octets = bytearray()
    while number >= 0x80:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)
