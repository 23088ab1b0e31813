"""Checks that a batch's records have offsets that they can have.

A producer writes each record's offset as a distance from its batch's first one. A broker takes what
is not compressed as it is (Apache Kafka 4.3.1 does), and kafka-python (3.0.12) believes it: it
would read on behind such an offset, and pass over all records before it.
"""

# ruff: noqa: SLF001 - there is no other place

from collections.abc import Iterator
from itertools import islice
from typing import Any

from kafka.record.default_records import DefaultRecordBatch

from topicserve.backends.kafka_python.compiled_records import UnreadError, read_at_once
from topicserve.errors import TopicserveError


class OffsetsError(TopicserveError):
    """A batch holds a record at an offset that cannot be its own."""


def in_order(batch: Any, *, at_once: bool) -> Any:
    """Return a batch that raises OffsetsError where offsets do not rise, or leave it.

    They may leave gaps, as compaction does. A record must also leave room for those behind it in
    the batch: so there is always an offset left to tell by what is wrong. Where its records may be
    read at once, the batch yields ReadRecords as far as they can be.
    """
    kind = type(batch)
    if isinstance(batch, DefaultRecordBatch) and not batch.is_control_batch:
        batch.__class__ = _classes.get((kind, at_once)) or _in_order_class(kind, at_once)
    return batch


def has_place(batch: Any, record: Any) -> bool:
    """Return whether a record's offset is one of its batch's."""
    return bool(batch.base_offset <= record.offset <= batch.last_offset)


_classes: dict[tuple[type[Any], bool], type[Any]] = {}


def _in_order_class(kind: type[Any], at_once: bool) -> type[Any]:
    class InOrder(kind):  # type: ignore[misc]  # the library is untyped
        __slots__ = ()

        def __iter__(self: Any) -> Iterator[Any]:
            self._maybe_uncompress()
            if at_once and self._next_record_index == 0:
                return _records_at_once(self)
            return _records(self)

    _classes[kind, at_once] = InOrder
    return InOrder


def _records_at_once(batch: Any) -> Iterator[Any]:
    done = 0
    try:
        for records in read_at_once(batch):
            yield records
            done += len(records)
    except UnreadError:
        yield from islice(_records(batch), done, None)


def _records(batch: Any) -> Iterator[Any]:
    lowest = batch.base_offset
    highest = batch.last_offset - batch.records_count + 1 + batch._next_record_index
    following = batch.__next__
    while True:
        try:
            record = following()
        except StopIteration:
            return
        if not lowest <= record.offset <= highest:
            raise OffsetsError(
                f"a record says offset {record.offset}, where {lowest} to {highest} are possible"
            )
        lowest = record.offset + 1
        highest += 1
        yield record
