"""Feature values become the bytes of a serialized tf.Example, written without message objects.

A protobuf message object for each row costs some microseconds, and a record of a megabyte may have
half a million rows. What is written is what the messages of `protos/example.proto` serialize to:

    Example  {features: {feature: map of name to Feature}}   a map is entries {name, value}
    Feature  one of {bytes_list, float_list, int64_list}, each a message with one repeated value
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.kinds.example_lists import (
    BYTES,
    FEW,
    FIRST,
    FLOATS,
    INTEGERS,
    ONE_BYTE,
    REPEATS,
    Entries,
    ListKind,
    Octets,
    around_key,
    behind,
    different,
    field,
    groups_of,
    head_of,
    packed_floats,
    refused,
    rows_of,
    varint,
    varints,
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
# Up to here writing entries one by one is quicker than numpy's calls for all of them.
_MANY = 128


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

    def column(self, values: Sequence[Any]) -> list[bytes] | Entries:
        """Return the entries of one value, or nested lists of values, each."""
        kind = self._kind
        values = _unwrapped(values)
        if not kind.allowed.issuperset(map(type, values)):
            return [self.entry(value) for value in values]
        if kind is FLOATS:
            if len(values) > FEW:
                return self._floats(packed_floats(self._name, values))
            return [self.entry(value) for value in values]
        if kind is INTEGERS and len(values) > _MANY:
            return self._integers(values)
        # Equal values are written alike, 1 and True too; of floats 0.0 and -0.0 are not.
        entries = {value: self.entry(value) for value in set(values)}
        return [entries[value] for value in values]

    def _floats(self, text: bytes) -> list[bytes] | Entries:
        """Return the entries of floats, which have four bytes each."""
        if len(text) > 4 * _MANY:
            bits, places = different(np.frombuffer(text, "<u4"))
            return Entries(self._around_each(bits.view(np.uint8).reshape(-1, 4)), places)
        head = self._head(6) + FIRST + ONE_BYTE[4]
        return [head + text[start : start + 4] for start in range(0, len(text), 4)]

    def _integers(self, values: Sequence[Any]) -> list[bytes] | Entries:
        """Return the entries of an integer each, those of one length at once."""
        try:
            numbers = np.fromiter(values, np.int64, len(values)).view(np.uint64)
        except OverflowError:  # the first that is out of range is told
            return [self.entry(value) for value in values]
        numbers, places = different(numbers)
        sizes = groups_of(numbers)
        if sizes.min() == sizes.max():
            return Entries(self._around_each(varints(numbers, int(sizes[0]))), places)
        entries = np.empty(len(numbers), object)
        for size in np.unique(sizes).tolist():
            alike = np.flatnonzero(sizes == size)
            entries[alike] = rows_of(self._around_each(varints(numbers[alike], size)))
        found: list[bytes] = (entries if places is None else entries[places]).tolist()
        return found

    def _around_each(self, octets: Octets) -> Octets:
        """Return the entries of numbers that are written so."""
        size = octets.shape[1]
        return behind(self._head(size + 2) + FIRST + ONE_BYTE[size], octets)

    def _around(self, message: bytes) -> bytes:
        head = self._heads.get(len(message))
        return (self._head(len(message)) if head is None else head) + message

    def _head(self, size: int) -> bytes:
        """Return what stands before a list's message of that size."""
        head = self._heads[size] = head_of(self._key, self._kind, size)
        return head


class UnseenWriter:
    """Writes entries of a feature that the graph does not show: of the kind of its values."""

    def __init__(self, name: str, key: bytes) -> None:
        self._name = name
        self._key = key

    def entry(self, value: Any) -> bytes:
        """Return the map entry of a value, or of nested lists of values."""
        return _unseen_entry(self._name, self._key, value)

    def column(self, values: Sequence[Any]) -> list[bytes] | Entries:
        """Return the entries of one value, or nested lists of values, each."""
        values = _unwrapped(values)
        kinds = {_KIND_OF.get(found) for found in set(map(type, values))}
        kind = kinds.pop()
        if kind is not None and not kinds:
            return FeatureWriter(self._name, self._key, kind).column(values)
        return [self.entry(value) for value in values]


def unseen_entry(name: str, value: Any) -> bytes:
    """Return what an UnseenWriter does, which a record may need a hundred thousand of."""
    size = len(name)
    if size < len(_HEADS) and name.isascii():
        return _unseen_entry(name, _HEADS[size] + name.encode(), value)
    return _unseen_entry(name, _key_of(name), value)


def _unseen_entry(name: str, key: bytes, value: Any) -> bytes:
    kind = _KIND_OF.get(type(value))
    if kind is None:
        return FeatureWriter(name, key, _kind_of(value)).entry(value)
    message = kind.write_one(name, value)
    before, after = around_key(len(key), kind.tag, len(message))
    return before + key + after + message


def writer_of(name: str, spec: FeatureSpec | None) -> FeatureWriter | UnseenWriter:
    """Return what writes a feature: as the graph parses it, or else as its values are.

    Raises InvalidArgumentError for what is no name.
    """
    key = _key_of(name)
    if spec is None:
        return UnseenWriter(name, key)
    if spec.dtype.hasobject:
        return FeatureWriter(name, key, BYTES)
    return FeatureWriter(name, key, INTEGERS if spec.dtype.kind in "biu" else FLOATS)


def _key_of(name: str) -> bytes:
    try:
        return field(FIRST, name.encode())
    except UnicodeEncodeError:  # a lone surrogate: protobuf's names are UTF-8
        raise InvalidArgumentError(f"feature {name!r}: its name is not UTF-8") from None


def example_of(entries: bytes) -> bytes:
    """Return the example of a row's entries, one after the other."""
    return FIRST + varint(len(entries)) + entries if entries else b""


def examples_of(columns: Sequence[list[bytes] | Entries]) -> list[bytes]:
    """Return the examples of rows, of which each column has an entry; there is a column."""
    if len(columns) == 1:
        return _examples_of_one(columns[0])
    alike = [column.by_row() for column in columns if isinstance(column, Entries)]
    if len(alike) == len(columns):
        return rows_of(_example_around(*alike))
    lists = [rows_of(c.by_row()) if isinstance(c, Entries) else c for c in columns]
    return _each_an_example(map(b"".join, zip(*lists, strict=True)))


def _examples_of_one(column: list[bytes] | Entries) -> list[bytes]:
    if isinstance(column, Entries):
        found = rows_of(_example_around(column.octets))
        if column.places is None:
            return found
        examples = np.empty(len(found), object)
        examples[:] = found
        rows: list[bytes] = examples[column.places].tolist()
        return rows
    if len(column) > _MANY and len(entries := set(column)) * REPEATS <= len(column):
        made = {entry: example_of(entry) for entry in entries}
        return [made[entry] for entry in column]
    return _each_an_example(column)


def _example_around(*entries: Octets) -> Octets:
    size = sum(one.shape[1] for one in entries)
    return behind(FIRST + varint(size), *entries)


def _each_an_example(rows: Iterable[bytes]) -> list[bytes]:
    limit, heads = len(_HEADS), _HEADS
    return [heads[len(row)] + row if len(row) < limit else example_of(row) for row in rows]


def _unwrapped(values: Sequence[Any]) -> Sequence[Any]:
    """Return the values of lists of one value each, which are written alike; else the same."""
    if type(values[0]) is not list or len(values[0]) != 1 or set(map(type, values)) != {list}:
        return values
    return [value[0] for value in values] if set(map(len, values)) == {1} else values


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


def _kind_of(value: Any) -> ListKind:
    types = set(map(type, flat(value))) if type(value) is list else {type(value)}
    if types <= INTEGERS.allowed:
        return INTEGERS
    return FLOATS if types <= FLOATS.allowed else BYTES
