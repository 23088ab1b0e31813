"""Where a PredictRequest holds its tensors' numbers.

Requests of one client have the same names, dtypes and shapes, so all their bytes are equal but the
numbers. Numbers lie in a message as they lie in an array, if the client filled `tensor_content`,
`float_val` or `double_val`. A message with equal bytes around them means the same, whatever the
numbers are: their length is one of these bytes.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from topicserve.errors import TopicserveError

_REQUEST_INPUTS = 2

_MODEL_SPEC_AND_TENSORS_AND_FILTER = frozenset({1, 2, 3})
_VARINT, _LENGTH_DELIMITED = 0, 2
_KEY, _VALUE = 1, 2
# Of a TensorProto: dtype, tensor_shape and version_number; and where the elements may be.
_DESCRIBING = frozenset({1, 2, 3})
_TENSOR_CONTENT, _FLOAT_VAL, _DOUBLE_VAL, _STRING_VAL = 4, 5, 6, 8
_ELEMENTS = frozenset({_TENSOR_CONTENT, _FLOAT_VAL, _DOUBLE_VAL, _STRING_VAL})
# Lengths and tags of any message that Kafka takes; ten bytes would be the longest number.
_MAX_VARINT_BYTES = 5
_MAX_NUMBER_BYTES = 10

MAX_TENSORS, MAX_FIXED_BYTES = 16, 4096
"""Messages with more tensors, or more bytes beside the numbers, have no layout."""


class FieldPlace(NamedTuple):
    """One tensor's elements in a message."""

    name: str
    start: int
    stop: int


class IrregularError(TopicserveError, ValueError):
    """Something in a message is not as the common libraries write it."""


class Layout:
    """The bytes that messages of one layout share, and the places of the others."""

    __slots__ = ("_fixed", "_head", "_tail", "places", "size")

    def __init__(self, message: bytes, places: Sequence[FieldPlace]) -> None:
        self.size = len(message)
        self.places = tuple(sorted(places, key=lambda place: place.start))
        bounds = [0, *(bound for place in self.places for bound in place[1:]), self.size]
        fixed = [(start, message[start:stop]) for start, stop in pairwise(bounds)][::2]
        self._head, self._tail = fixed[0][1], fixed[-1][1]
        self._fixed = fixed[1:-1]

    def fits(self, message: bytes) -> bool:
        """Return whether a message of this size differs in its tensors' elements alone."""
        return (
            message.startswith(self._head)
            and message.endswith(self._tail)
            and (not self._fixed or self._fits_between(message))
        )

    def _fits_between(self, message: bytes) -> bool:
        return all(message.startswith(piece, start) for start, piece in self._fixed)


def layout_of(message: bytes, columns: Mapping[str, Any], text: str | None = None) -> Layout | None:
    """Return the layout of a PredictRequest, None where it has none.

    `columns` are the message's tensors, read; all must be of numbers, but for `text`, which must be
    one string.
    """
    if not 0 < len(columns) <= MAX_TENSORS or not all(
        _is_text(column) if name == text else _is_of_numbers(column)
        for name, column in columns.items()
    ):
        return None
    elements = {
        name: column.ravel()[0] if name == text else column.tobytes()
        for name, column in columns.items()
    }
    if len(message) - sum(map(len, elements.values())) > MAX_FIXED_BYTES:
        return None
    try:
        places = list(_places(message))
    except (IrregularError, UnicodeDecodeError):
        return None
    found = {place.name: message[place.start : place.stop] for place in places}
    # Compared with what protobuf read: whatever else the message holds, the places are right.
    if found != elements or len(places) != len(found):
        return None
    return Layout(message, places)


def _is_of_numbers(column: Any) -> bool:
    # Booleans are left out: a request may write them as any bytes, numpy knows 0 and 1.
    return isinstance(column, np.ndarray) and column.size > 0 and column.dtype.kind not in "Ob"


def _is_text(column: Any) -> bool:
    return isinstance(column, np.ndarray) and column.size == 1 and column.dtype.hasobject


def content_of(column: NDArray[Any]) -> memoryview:
    """Return a column's elements as they lie in a message; a view of it where that is possible."""
    if column.dtype.byteorder == ">":
        column = column.astype(column.dtype.newbyteorder("<"))
    octets: Any = np.ascontiguousarray(column).reshape(-1).view(np.uint8)
    return memoryview(octets)


def _places(message: bytes) -> Iterator[FieldPlace]:
    for number, start, stop in _fields(message, 0, len(message)):
        if number not in _MODEL_SPEC_AND_TENSORS_AND_FILTER:
            raise IrregularError("an unknown field")
        if number == _REQUEST_INPUTS:
            yield _place(message, start, stop)


def _place(message: bytes, start: int, stop: int) -> FieldPlace:
    """Return the place of a map entry's tensor."""
    parts = list(_fields(message, start, stop))
    if sorted(number for number, _, _ in parts) != [_KEY, _VALUE]:
        raise IrregularError("an entry without one name and one tensor")
    ((_, *name), (_, *tensor)) = sorted(parts)
    elements = [
        place
        for number, *place in _fields(message, *tensor)
        if number not in _DESCRIBING and _is_for_elements(number)
    ]
    if len(elements) != 1:
        raise IrregularError("a tensor whose elements are not in one place")
    return FieldPlace(message[name[0] : name[1]].decode(), *elements[0])


def _is_for_elements(number: int) -> bool:
    if number not in _ELEMENTS:
        raise IrregularError("elements that lie in a message otherwise than in an array")
    return True


def _fields(message: bytes, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Yield each field's number, and where its content is."""
    while start < stop:
        tag, start = _varint(message, start, stop, _MAX_VARINT_BYTES)
        number, kind = tag >> 3, tag & 7
        if kind == _LENGTH_DELIMITED:
            length, start = _varint(message, start, stop, _MAX_VARINT_BYTES)
            end = start + length
        elif kind == _VARINT:
            _, end = _varint(message, start, stop, _MAX_NUMBER_BYTES)
        else:
            raise IrregularError("a field of another kind")
        if end > stop:
            raise IrregularError("a field that goes on beyond its message")
        yield number, start, end
        start = end


def _varint(message: bytes, start: int, stop: int, longest: int) -> tuple[int, int]:
    """Return a number, and where it ends."""
    value = 0
    for place in range(start, min(stop, start + longest)):
        value |= (message[place] & 0x7F) << (7 * (place - start))
        if message[place] < 0x80:
            return value, place + 1
    raise IrregularError("a number that does not end")
