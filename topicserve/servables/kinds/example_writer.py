"""Feature values become the bytes of a serialized tf.Example, written without message objects.

A protobuf message object for each row costs some microseconds, and a record of a megabyte may have
half a million rows. What is written is what the messages of `protos/example.proto` serialize to:

    Example  {features: {feature: map of name to Feature}}   a map is entries {name, value}
    Feature  one of {bytes_list, float_list, int64_list}, each a message with one repeated value
"""

from collections.abc import Iterable, Sequence
from typing import Any

from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.kinds.example_lists import (
    BYTES,
    FEW,
    FIRST,
    FLOATS,
    INTEGERS,
    ONE_BYTE,
    SECOND,
    ListKind,
    field,
    packed_floats,
    refused,
    varint,
)
from topicserve.servables.kinds.servable import FeatureSpec

_KIND_OF: dict[type, ListKind] = {
    str: BYTES,
    bytes: BYTES,
    float: FLOATS,
    int: INTEGERS,
    bool: INTEGERS,
}
_HEADS = tuple(FIRST + size for size in ONE_BYTE)


class FeatureWriter:
    """Writes entries of one feature: its name, and values of one kind."""

    def __init__(self, name: str, key: bytes, kind: ListKind) -> None:
        self._name = name
        self._key = key
        self._kind = kind
        self._heads: dict[int, bytes] = {}

    def entry(self, value: Any) -> bytes:
        """Return the map entry of a value, or of nested lists of values."""
        kind = self._kind
        if type(value) in kind.allowed:
            return self._around(kind.write_one(self._name, value))
        if type(value) is not list:
            raise refused(self._name, value, kind)
        values = flat(value)
        if len(values) == 1:
            return self.entry(values[0])
        if not values:  # it is there and says nothing
            return field(FIRST, self._key + b"\x12\x00")
        if not kind.allowed.issuperset(map(type, values)):
            odd = next(value for value in values if type(value) not in kind.allowed)
            raise refused(self._name, odd, kind)
        return self._around(kind.write_many(self._name, values))

    def column(self, values: Sequence[Any]) -> list[bytes]:
        """Return the entries of one value, or nested lists of values, each."""
        kind = self._kind
        if not kind.allowed.issuperset(map(type, values)):
            return [self.entry(value) for value in values]
        if kind is FLOATS and len(values) > FEW:
            text = packed_floats(self._name, values)
            head = self._head(6) + b"\x0a\x04"
            return [head + text[start : start + 4] for start in range(0, len(text), 4)]
        # Equal values are written alike, whatever they are: 1 and True, too.
        entries = {value: self.entry(value) for value in set(values)}
        return [entries[value] for value in values]

    def _around(self, message: bytes) -> bytes:
        head = self._heads.get(len(message))
        return (self._head(len(message)) if head is None else head) + message

    def _head(self, size: int) -> bytes:
        """Return what stands before a list's message of that size."""
        head = self._heads[size] = _head(self._key, self._kind, size)
        return head


class UnseenWriter:
    """Writes entries of a feature that the graph does not show: of the kind of its values."""

    __slots__ = ("_key", "_name")  # a record may have a hundred thousand names

    def __init__(self, name: str, key: bytes) -> None:
        self._name = name
        self._key = key

    def entry(self, value: Any) -> bytes:
        """Return the map entry of a value, or of nested lists of values."""
        kind = _KIND_OF.get(type(value))
        if kind is None:
            return self._of(_kind_of(value)).entry(value)
        message = kind.write_one(self._name, value)
        return _head(self._key, kind, len(message)) + message

    def column(self, values: Sequence[Any]) -> list[bytes]:
        """Return the entries of one value, or nested lists of values, each."""
        kinds = {_KIND_OF.get(found) for found in set(map(type, values))}
        kind = kinds.pop()
        if kind is not None and not kinds:
            return self._of(kind).column(values)
        return [self.entry(value) for value in values]

    def _of(self, kind: ListKind) -> FeatureWriter:
        return FeatureWriter(self._name, self._key, kind)


def writer_of(name: str, spec: FeatureSpec | None) -> FeatureWriter | UnseenWriter:
    """Return what writes a feature: as the graph parses it, or else as its values are.

    Raises InvalidArgumentError for what is no name.
    """
    try:
        key = field(FIRST, name.encode())
    except UnicodeEncodeError:  # a lone surrogate: protobuf's names are UTF-8
        raise InvalidArgumentError(f"feature {name!r}: its name is not UTF-8") from None
    if spec is None:
        return UnseenWriter(name, key)
    if spec.dtype.hasobject:
        return FeatureWriter(name, key, BYTES)
    return FeatureWriter(name, key, INTEGERS if spec.dtype.kind in "biu" else FLOATS)


def example_of(entries: bytes) -> bytes:
    """Return the example of a row's entries, one after the other."""
    return FIRST + varint(len(entries)) + entries if entries else b""


def examples_of(rows: Iterable[bytes]) -> list[bytes]:
    """Return the examples of rows of some entries each."""
    limit, heads = len(_HEADS), _HEADS
    return [heads[len(row)] + row if len(row) < limit else example_of(row) for row in rows]


def flat(values: list[Any]) -> list[Any]:
    """Return the values of nested lists in order: a feature is a flat list."""
    if list not in map(type, values):
        return values
    into: list[Any] = []
    _flatten(values, into)
    return into


def _flatten(values: list[Any], into: list[Any]) -> None:
    for item in values:
        if isinstance(item, list):
            _flatten(item, into)
        else:
            into.append(item)


def _head(key: bytes, kind: ListKind, size: int) -> bytes:
    """Return what stands before a list's message of that size."""
    feature = kind.tag + varint(size)
    size += len(feature)
    value = SECOND + varint(size) + feature
    size += len(key) + len(value) - len(feature)
    return FIRST + varint(size) + key + value


def _kind_of(value: Any) -> ListKind:
    types = set(map(type, flat(value))) if type(value) is list else {type(value)}
    if types <= INTEGERS.allowed:
        return INTEGERS
    return FLOATS if types <= FLOATS.allowed else BYTES
