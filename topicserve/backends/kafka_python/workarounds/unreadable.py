"""Reads on where kafka-python's fetcher (3.0.12) stops: records and batches that cannot be decoded.

An error while decoding leaves the fetcher with a finished generator that it takes for records, so
that `poll` spins and the partition stands still. Here a record whose header names are not UTF-8
is returned as unreadable, with its neighbours as they are. A batch that cannot be decoded is
fetched again, since it may have been altered on its way, and is then passed over as one unreadable
record that names its offsets. Nothing is done for records that can be read.
"""

# ruff: noqa: SLF001 - there is no other place

import logging
import struct
from collections.abc import Iterator
from typing import Any

from kafka import errors
from kafka.consumer.fetcher import ConsumerRecord, Fetcher
from kafka.record.default_records import DefaultRecordBatch

from topicserve.backends.kafka_python import compiled_records
from topicserve.backends.kafka_python.compiled_records import ReadRecords, next_batch
from topicserve.backends.kafka_python.reading.record_offsets import (
    OffsetsError,
    has_place,
    in_order,
)
from topicserve.backends.kafka_python.workarounds.decompress import BatchTooLargeError, bounded
from topicserve.wire.dead_letter import TRUNCATED_HEADER
from topicserve.wire.kafka_record import KafkaRecord, UnreadableHeaders

log = logging.getLogger(__name__)

MAX_FETCHES = 3
_MAX_REMEMBERED = 1000


def read_on(
    client: Any, max_decompressed_bytes: int, *, at_once: bool = compiled_records.is_available()
) -> None:
    """To a new consumer: have its fetcher read on after what cannot be decoded, or is too large.

    It returns KafkaRecords where they may be read at once, and the library's own for all others.
    """
    fetches: dict[tuple[Any, int], int] = {}

    class Records(ReadableRecords):
        _fetches = fetches
        _max_bytes = max_decompressed_bytes
        _at_once = at_once

    client._fetcher.PartitionRecords = Records


class ReadableRecords(Fetcher.PartitionRecords):  # type: ignore[misc]  # the library is untyped
    """The records of one partition in one answer to a fetch."""

    _fetches: dict[tuple[Any, int], int]
    """How often a batch was fetched that cannot be decoded."""
    _max_bytes: int = 128 * 1024 * 1024
    """What a batch may decompress to."""
    _at_once: bool = compiled_records.is_available()
    """Whether compiled code reads records."""

    def _unpack_records(
        self, tp: Any, records: Any, key_deserializer: Any, value_deserializer: Any
    ) -> Iterator[Any]:
        batches = Batches(records, self._max_bytes, at_once=self._at_once)
        while True:
            try:
                for record in super()._unpack_records(
                    tp, batches, key_deserializer, value_deserializer
                ):
                    if type(record.value) is ReadRecords:
                        yield from self._each(tp, record.value)
                    else:
                        yield record
            except Exception as error:
                record = self._unreadable(tp, batches, error)
            else:
                return
            if record is None:
                self.drain()
                return
            yield record

    def _each(self, tp: Any, records: ReadRecords) -> Iterator[KafkaRecord]:
        topic, partition = tp
        self.records_read += len(records) - 1
        for record in records:
            offset = record.offset
            self.next_fetch_offset = offset + 1
            yield KafkaRecord(
                *(topic, partition, offset, record.timestamp),
                *(record.key, record.value, record.headers),
            )

    def _unreadable(self, tp: Any, batches: "Batches", error: Exception) -> Any:
        """Return what stands for the record or batch; None if it is to be fetched again."""
        batch = batches.current
        if batch is None or isinstance(error, MemoryError) or is_missing_library(error):
            self.drain()  # left as it is, it would be read again and again
            raise error
        is_misplaced = isinstance(error, OffsetsError)
        lenient = None if is_misplaced else _read_leniently(batch)
        if lenient is not None and not has_place(batch, lenient[0]):
            return self._corrupt(tp, batches, OffsetsError("a record has another batch's offset"))
        if lenient is not None:
            record, kept = lenient
            batches.resume(batch)
            self.next_fetch_offset = record.offset + 1
            headers = UnreadableHeaders("a header name is not UTF-8", kept)
            return self._record(tp, record, headers)
        return self._corrupt(tp, batches, error)

    def _corrupt(self, tp: Any, batches: "Batches", error: Exception) -> Any:
        batch = batches.current
        place = tp, batch.base_offset
        is_too_large = isinstance(error, BatchTooLargeError)
        is_final = is_too_large or isinstance(error, OffsetsError)
        fetches = self._fetches.get(place, 0) + 1
        if fetches < MAX_FETCHES and not is_final:  # which fetching again does not change
            if len(self._fetches) >= _MAX_REMEMBERED:
                self._fetches.clear()
            self._fetches[place] = fetches
            log.warning("batch at %s of %s cannot be read: %s", batch.base_offset, tp, error)
            return None
        self._fetches.pop(place, None)
        first = max(self.next_fetch_offset, batch.base_offset)
        if isinstance(error, OffsetsError):  # what its header says was checked
            first, last = min(first, batch.last_offset), batch.last_offset
        else:
            last = max(self._last_offset(batches), first)
        self.next_fetch_offset = last + 1
        problem = (
            f"offsets {first} to {last} of {tp.topic}-{tp.partition} cannot be read: "
            f"{type(error).__name__}: {error}"
        )
        headers = UnreadableHeaders(problem, first_offset=first, is_too_large=is_too_large)
        return ConsumerRecord(
            *(tp.topic, tp.partition, self.leader_epoch, last, 0, 0, None, None, headers),
            *(None, -1, -1, -1),
        )

    def _last_offset(self, batches: "Batches") -> int:
        """Return the last offset of a batch, whose header may be altered as well.

        What says more than is certain would have good records passed over; what says less only
        has the same batch found again.
        """
        batch = batches.current
        following = batches.following_offset()
        if following is not None:
            return following - 1
        count, last = getattr(batch, "records_count", 1), getattr(batch, "last_offset", -1)
        return last if last == batch.base_offset + count - 1 else -1

    def _record(self, tp: Any, record: Any, headers: UnreadableHeaders) -> Any:
        return ConsumerRecord(
            *(tp.topic, tp.partition, self.leader_epoch, record.offset, record.timestamp),
            *(record.timestamp_type, record.key, record.value, headers, record.checksum),
            *(-1, -1, -1),
        )


class Batches:
    """Gives a fetcher the batches of an answer, and remembers which one it has."""

    def __init__(self, records: Any, max_bytes: int, *, at_once: bool) -> None:
        self._records = records
        self._at_once = at_once
        self._max_bytes = max_bytes
        self._resumed: Any = None
        self.current: Any = None

    def next_batch(self) -> Any:
        """Return the next batch, or the rest of one that is resumed; None at the end."""
        self.current, self._resumed = self._resumed, None
        if self.current is None:
            batch = bounded(next_batch(self._records), self._max_bytes)
            self.current = in_order(batch, at_once=self._at_once)
        return self.current

    def resume(self, batch: Any) -> None:
        """Give the rest of a batch next."""
        batch.__class__ = _RestOfBatch
        self._resumed = in_order(batch, at_once=False)

    def following_offset(self) -> int | None:
        """Return the base offset of the batch behind the current one, if it is here."""
        following = self._records._next_slice
        if following is None:
            return None
        (offset,) = struct.unpack_from(">q", following)
        return int(offset)


class _RestOfBatch(DefaultRecordBatch):  # type: ignore[misc]  # the library is untyped
    """A batch that was read in part, and checked before."""

    __slots__ = ()

    def validate_crc(self) -> bool:
        return True


def _read_leniently(batch: Any) -> tuple[Any, list[tuple[str, bytes | None]]] | None:
    """Read the record that a batch stands at, with names that are not UTF-8 escaped.

    Returns None if that is not what is wrong with it.
    """
    if getattr(batch, "magic", 0) < 2 or not batch._decompressed:
        return None
    strict, position = batch._buffer, batch._pos
    batch._buffer = lenient = _LenientBuffer(strict)
    try:
        record = batch._read_msg()
    except Exception:
        batch._pos = position
        return None
    finally:
        batch._buffer = strict
    if not lenient.escaped:
        batch._pos = position
        return None
    batch._next_record_index += 1
    mark = (TRUNCATED_HEADER, b"header-names=%d" % lenient.escaped)
    return record, [*record.headers, mark]


class _LenientBuffer(bytearray):
    """Bytes whose slices decode in any case; counts those that are not UTF-8."""

    escaped = 0

    def __getitem__(self, at: Any) -> Any:
        found = super().__getitem__(at)
        return _Slice(found, self) if isinstance(at, slice) else found


class _Slice(bytearray):
    def __init__(self, content: bytearray, owner: _LenientBuffer) -> None:
        super().__init__(content)
        self._owner = owner

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        try:
            return super().decode(encoding, errors)
        except UnicodeDecodeError:
            self._owner.escaped += 1
            return super().decode(encoding, "backslashreplace")


def is_missing_library(error: Exception) -> bool:
    """Return whether an error says that a codec is not installed."""
    return isinstance(error, errors.UnsupportedCodecError | RuntimeError) and (
        "Libraries for" in str(error)
    )
