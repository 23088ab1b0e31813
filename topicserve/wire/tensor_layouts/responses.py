"""PredictResponses of a batch, written as copies of one with other numbers."""

from collections.abc import Collection, Mapping
from typing import Any

from numpy.typing import NDArray

from topicserve.wire.header_names import PROTOBUF_CONTENT_TYPE
from topicserve.wire.input_record import InputRecord
from topicserve.wire.protobuf_codec import encode_predict_response
from topicserve.wire.result import Metadata
from topicserve.wire.tensor_layouts.layout import RESPONSE_OUTPUTS, content_of, layout_of


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
        if key in self._templates:
            template = self._templates[key]
            return self._encode(start, count, wanted) if template is None else template.at(start)
        outputs = self._rows(start, count, wanted)
        message = encode_predict_response(outputs, *self._origin)
        self._templates[key] = self._template(message, outputs, count)
        return message

    def _encode(self, start: int, count: int, wanted: Collection[str]) -> bytes:
        return encode_predict_response(self._rows(start, count, wanted), *self._origin)

    def _rows(self, start: int, count: int, wanted: Collection[str]) -> dict[str, NDArray[Any]]:
        return {
            name: column if name in self._whole else column[start : start + count]
            for name, column in self._outputs.items()
            if not wanted or name in wanted
        }

    def _template(
        self, message: bytes, outputs: Mapping[str, NDArray[Any]], count: int
    ) -> "_Template | None":
        layout = layout_of(message, RESPONSE_OUTPUTS, outputs)
        if layout is None:
            return None
        for name in outputs.keys() - self._contents.keys():
            self._contents[name] = content_of(self._outputs[name])
        parts = [
            (self._contents[p.name], 0 if p.name in self._whole else (p.stop - p.start) // count)
            for p in layout.places
        ]
        return _Template(layout.pieces(), parts, [p.stop - p.start for p in layout.places])


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
