"""Reads single fields of an ONNX file, as protobuf lays them out.

Weights are stepped over, so that a file of any size takes no memory.
"""

import mmap
from collections.abc import Callable, Iterator
from typing import TypeVar

from topicserve.servables.core.errors import DataLossError
from topicserve.servables.sources.regular_files import open_regular_file

T = TypeVar("T")

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10


def read_model(file: str, read: Callable[[memoryview], T]) -> T:
    """Return what `read` makes of the file; DataLossError where it is no protobuf message."""
    with open_regular_file(file) as opened:
        try:
            return read(memoryview(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)))
        except (ValueError, IndexError) as error:
            problem = str(error)
    # Here, where no traceback of the first error keeps the file mapped.
    raise DataLossError(f"{file}: is damaged or cut short: {problem}")


def fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield number and content of the fields that have a length: messages and strings."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        wire_type = tag & 7
        if wire_type == _BYTES:
            length, position = _varint(message, position)
            if position + length > len(message):
                raise ValueError("a field is longer than what it is in")
            yield tag >> 3, message[position : position + length]
            position += length
        elif wire_type == _VARINT:
            _, position = _varint(message, position)
        elif wire_type in (_FIXED32, _FIXED64):
            position += 4 if wire_type == _FIXED32 else 8
        else:
            raise ValueError(f"there is no wire type {wire_type}")


def inside(message: memoryview, wanted: int) -> Iterator[memoryview]:
    """Yield the contents of the fields of this number."""
    return (content for number, content in fields(message) if number == wanted)


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    number = 0
    for index in range(_MAX_VARINT_BYTES):
        byte = message[position + index]
        number |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return number, position + index + 1
    raise ValueError("a number is too long")
