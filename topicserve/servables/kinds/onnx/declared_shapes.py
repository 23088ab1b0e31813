"""Tells which inputs and outputs of an ONNX file have a declared shape.

ONNX Runtime shows a tensor of unknown rank as it shows a scalar: with no dimensions. The file tells
them apart. Its few fields that matter are read here as protobuf lays them out; the weights are
stepped over, so that a file of any size takes no memory.

    ModelProto.graph 7 -> GraphProto.input 11, output 12 -> ValueInfoProto.name 1, type 2
    -> TypeProto.tensor_type 1 -> Tensor.shape 2
"""

import mmap
from collections.abc import Iterator

from topicserve.servables.core.errors import DataLossError
from topicserve.servables.sources.regular_files import open_regular_file

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10


def names_with_shape(file: str) -> frozenset[str]:
    """Return the names; DataLossError where the file is no protobuf message."""
    with open_regular_file(file) as opened:
        try:
            with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
                view = memoryview(content)
                try:
                    return frozenset(_names(view))
                finally:
                    view.release()
        except (ValueError, IndexError) as error:
            raise DataLossError(f"{file}: is damaged or cut short: {error}") from None


def _names(model: memoryview) -> Iterator[str]:
    for graph in _inside(model, 7):
        for value in (*_inside(graph, 11), *_inside(graph, 12)):
            has_shape = any(
                True
                for kind in _inside(value, 2)
                for tensor in _inside(kind, 1)
                for _ in _inside(tensor, 2)
            )
            if has_shape:
                yield from (str(bytes(name), "utf-8") for name in _inside(value, 1))


def _inside(message: memoryview, wanted: int) -> Iterator[memoryview]:
    """Yield the fields of this number that have a length: messages and strings."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        wire_type = tag & 7
        if wire_type == _BYTES:
            length, position = _varint(message, position)
            if position + length > len(message):
                raise ValueError("a field is longer than what it is in")
            if tag >> 3 == wanted:
                yield message[position : position + length]
            position += length
        elif wire_type == _VARINT:
            _, position = _varint(message, position)
        elif wire_type in (_FIXED32, _FIXED64):
            position += 4 if wire_type == _FIXED32 else 8
        else:
            raise ValueError(f"there is no wire type {wire_type}")


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    number = 0
    for index in range(_MAX_VARINT_BYTES):
        byte = message[position + index]
        number |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return number, position + index + 1
    raise ValueError("a number is too long")
