"""The three lists that a feature of a tf.Example can be, and how their messages are written.

Each is a protobuf message with one repeated value: bytes_list, float_list and int64_list of
`protos/example.proto`. A message object for each would cost a microsecond.
"""

import struct
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from topicserve.protos.example_pb2 import BytesList, Int64List
from topicserve.servables.core.errors import InvalidArgumentError

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_UNSIGNED = 2**64 - 1
ONE_BYTE = tuple(bytes([number]) for number in range(128))
# Tags: fields 1, 2 and 3, of a length that follows.
FIRST, SECOND, THIRD = b"\x0a", b"\x12", b"\x1a"
# Up to here writing values one by one is quicker than a call for all of them.
FEW = 8
_pack_float = struct.Struct("<2sf").pack
_INFINITE = (_pack_float(b"\x0a\x04", np.inf), _pack_float(b"\x0a\x04", -np.inf))

# How often values must repeat on average for equal rows to be one object.
REPEATS = 8
# The smallest numbers that take another group of seven bits than those below them.
_LONGER = np.array([1 << bits for bits in range(7, 64, 7)], np.uint64)

Numbers = NDArray[Any]
Octets = NDArray[np.uint8]
"""Bytes of one length in each row: an array of [rows, length]."""


class Entries(NamedTuple):
    """Entries of one length each; where values repeat, the ones that differ and whose they are."""

    octets: Octets
    places: NDArray[np.intp] | None = None
    """Which of the entries each row has; None: its own."""

    def by_row(self) -> Octets:
        """Return each row's entry."""
        return self.octets if self.places is None else self.octets[self.places]


class ListKind(NamedTuple):
    """One of the three lists that a feature can be."""

    tag: bytes
    allowed: frozenset[type]
    what: str
    write_one: Callable[[str, Any], bytes]
    """Return the list's message of one value of a type that is allowed."""
    write_many: Callable[[str, list[Any]], bytes]
    """Return that of several."""


def field(tag: bytes, content: bytes) -> bytes:
    """Return a field whose content has its length in front."""
    size = len(content)
    return tag + (ONE_BYTE[size] if size < len(ONE_BYTE) else varint(size)) + content


@lru_cache(maxsize=4096)
def varint(number: int) -> bytes:
    """Return a number below 2**64 in groups of seven bits, the lowest first."""
    octets = bytearray()
    while number >= len(ONE_BYTE):
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)


def behind(head: bytes, *parts: Octets) -> Octets:
    """Return rows of these bytes, and of the parts' one after the other."""
    start = len(head)
    rows = np.empty((len(parts[0]), start + sum(part.shape[1] for part in parts)), np.uint8)
    rows[:, :start] = np.frombuffer(head, np.uint8)
    for part in parts:
        end = start + part.shape[1]
        rows[:, start:end] = part
        start = end
    return rows


def rows_of(octets: Octets) -> list[bytes]:
    """Return each row: numpy makes the objects, of what it has no type for."""
    rows: list[bytes] = octets.view(f"V{octets.shape[1]}").ravel().tolist()
    return rows


def different(numbers: Numbers) -> tuple[Numbers, NDArray[np.intp] | None]:
    """Return the numbers that differ and which of them each is, None where most differ.

    Rows of a byte each are a million in a message of 1 MiB, and have 256 values at most.
    """
    ordered = np.sort(numbers)
    is_new = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    if np.count_nonzero(is_new) * REPEATS > len(numbers):
        return numbers, None
    found = ordered[is_new]
    return found, np.searchsorted(found, numbers)


def groups_of(numbers: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Return how many groups of seven bits each number takes."""
    return np.searchsorted(_LONGER, numbers, side="right") + 1


def varints(numbers: NDArray[np.uint64], size: int) -> Octets:
    """Return numbers that all take so many groups of seven bits."""
    groups = numbers[:, None] >> np.arange(0, 7 * size, 7, dtype=np.uint64)
    octets = groups.astype(np.uint8) | np.uint8(0x80)
    octets[:, -1] &= 0x7F
    return octets


def _bytes_of(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode(errors="surrogatepass")


def _write_text(name: str, value: str | bytes) -> bytes:  # noqa: ARG001
    return field(FIRST, _bytes_of(value))


def _write_texts(name: str, values: list[Any]) -> bytes:  # noqa: ARG001
    if len(values) <= FEW:
        return b"".join([field(FIRST, _bytes_of(value)) for value in values])
    return BytesList(value=map(_bytes_of, values)).SerializeToString()


def _write_integer(name: str, value: int) -> bytes:
    if 0 <= value < len(ONE_BYTE):
        return b"\x0a\x01" + ONE_BYTE[value]
    if not _INT64_MIN <= value <= _INT64_MAX:
        raise _out_of_range(name, value)
    return field(FIRST, varint(value & _UNSIGNED))


def _write_integers(name: str, values: list[Any]) -> bytes:
    low, high = min(values), max(values)
    if low < _INT64_MIN or high > _INT64_MAX:
        raise _out_of_range(name, low if low < _INT64_MIN else high)
    if len(values) <= FEW:
        return field(FIRST, b"".join([varint(value & _UNSIGNED) for value in values]))
    return Int64List(value=map(int, values)).SerializeToString()


def _write_float(name: str, value: float) -> bytes:
    try:
        return _pack_float(b"\x0a\x04", value)
    except (OverflowError, struct.error):  # beyond float32
        return _INFINITE[_as_float(name, value) < 0]


def _write_floats(name: str, values: list[Any]) -> bytes:
    if len(values) <= FEW:
        return field(FIRST, b"".join([_write_float(name, value)[2:] for value in values]))
    return field(FIRST, packed_floats(name, values))


def packed_floats(name: str, values: Iterable[Any]) -> bytes:
    """Return float32s; what is beyond them is infinite, as in TF Serving."""
    try:
        doubles = np.fromiter(values, np.float64)
    except (OverflowError, ValueError):
        raise _no_float(name) from None
    with np.errstate(over="ignore"):
        return doubles.astype("<f4").tobytes()


def _as_float(name: str, value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        raise _no_float(name) from None


def refused(name: str, odd: Any, kind: ListKind) -> InvalidArgumentError:
    """Return the error of a value that is of no type that the list takes."""
    # The parser makes a float of an integer that no 64 bits hold.
    if kind is INTEGERS and type(odd) is float and odd.is_integer() and abs(odd) > _INT64_MAX:
        return _out_of_range(name, odd)
    remedy = "; leave the feature out instead" if odd is None else ""
    return InvalidArgumentError(
        f"feature {name!r}: must be {kind.what}, found {describe(odd)}{remedy}"
    )


def _out_of_range(name: str, number: float) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"feature {name!r}: {number} is out of range for int64, which is from {_INT64_MIN} to "
        f"{_INT64_MAX}"
    )


def _no_float(name: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"feature {name!r}: a number does not fit float32")


def describe(item: Any) -> str:
    """Return what a JSON value is, for messages."""
    names = {bool: "a boolean", int: "an integer", float: "a float", list: "a list"}
    names |= {str: "a string", bytes: "a string", dict: "an object"}
    return names.get(type(item), "null" if item is None else type(item).__name__)


BYTES = ListKind(FIRST, frozenset({str, bytes}), "strings", _write_text, _write_texts)
FLOATS = ListKind(SECOND, frozenset({int, float}), "numbers", _write_float, _write_floats)
INTEGERS = ListKind(THIRD, frozenset({int, bool}), "integers", _write_integer, _write_integers)


def head_of(key: bytes, kind: ListKind, size: int) -> bytes:
    """Return what stands before a list's message of that size."""
    before, after = around_key(len(key), kind.tag, size)
    return before + key + after


@lru_cache(maxsize=4096)
def around_key(key_size: int, tag: bytes, size: int) -> tuple[bytes, bytes]:
    """Return what stands before a name's field, and between it and a list's message."""
    feature = tag + varint(size)
    value = SECOND + varint(size + len(feature)) + feature
    return FIRST + varint(key_size + len(value) + size), value
