"""Record batches read and built by compiled code: aiokafka's, if `topicserve[fast]` is installed.

It reads and builds ordinary batches for a sixth of what kafka-python's pure Python costs. Whatever
it does not read, or might read otherwise, is left to kafka-python: see docs/adr/0020.
"""

# ruff: noqa: SLF001 - there is no other place

from collections.abc import Iterator
from contextlib import suppress
from itertools import chain, islice
from operator import lt
from typing import Any

from kafka.record.default_records import DefaultRecordBatch

from topicserve.errors import TopicserveError

CompiledBatch: Any = None
CompiledBuilder: Any = None
with suppress(ImportError):
    from aiokafka.record._crecords import default_records

    CompiledBatch = default_records.DefaultRecordBatch
    CompiledBuilder = default_records.DefaultRecordBatchBuilder

_HEADER = DefaultRecordBatch.HEADER_STRUCT
_MAGIC = 2
_ATTRIBUTES = 5  # of the header's fields
# How many records are read at once; a poll returns some thousands.
_CHUNK_RECORDS = 512
# A batch that has no margin is copied; those that are larger are left to kafka-python.
_MAX_COPIED_BYTES = 4 * 1024 * 1024
# The compiled code looks up to 20 bytes behind the end of a batch that is cut off in its headers.
_MARGIN = bytes(32)
_MIN_BATCH_BYTES = _HEADER.size
_MAGIC_OFFSET = 16


def is_available() -> bool:
    """Return whether there is compiled code to read and build batches."""
    return CompiledBatch is not None


def next_batch(records: Any) -> Any:
    """Return the next batch of kafka-python's MemoryRecords, which compiled code may read in place.

    The library copies each batch; here the copy has a margin behind its end.
    """
    content = records._next_slice
    if content is None or len(content) < _MIN_BATCH_BYTES or content[_MAGIC_OFFSET] != _MAGIC:
        return records.next_batch()
    records._cache_next()
    batch = DefaultRecordBatch.__new__(DefaultRecordBatch)
    batch._buffer = bytearray().join((content, _MARGIN))
    del batch._buffer[-len(_MARGIN) :]  # it stays allocated
    batch._header_data = _HEADER.unpack_from(content)
    batch._pos, batch._num_records = _HEADER.size, batch.records_count
    batch._next_record_index, batch._decompressed = 0, False
    return batch


def _has_margin(content: bytearray) -> bool:
    return content.__alloc__() > len(content) + len(_MARGIN)


class UnreadError(TopicserveError):
    """Compiled code does not read a batch to its end; kafka-python tells why, or reads it."""


class ReadRecords(list[Any]):
    """Records that were read at once; the fetcher takes them for one whose value they are."""

    key = checksum = None
    headers = ()
    timestamp = timestamp_type = size_in_bytes = 0

    @property
    def offset(self) -> int:
        """Return the last record's offset."""
        return int(self[-1].offset)

    @property
    def value(self) -> "ReadRecords":
        """Return the records themselves."""
        return self

    def validate_crc(self) -> bool:
        """Return True: only batches have a checksum."""
        return True


def read_at_once(batch: Any) -> Iterator[ReadRecords]:
    """Yield a batch's records, some hundreds at a time.

    `batch` is kafka-python's, with magic 2, decompressed, and at its first record; it is left as it
    is. Offsets rise and are the batch's. Raises UnreadError where there is anything that is not as
    it should be, or that compiled code could read otherwise than kafka-python does.
    """
    if batch.first_timestamp < 0 or batch.base_offset < 0:
        raise UnreadError("a sum that is too large for 64 bits could not be told by its sign")
    if len(batch._buffer) > _MAX_COPIED_BYTES and not _has_margin(batch._buffer):
        raise UnreadError("it is large")
    lowest, left = batch.base_offset, batch.records_count
    found = _iterate(batch)
    while left > 0:
        records = _next_records(found, left)
        left -= len(records)
        offsets = [record.offset for record in records]
        if not (
            lowest <= offsets[0]
            and offsets[-1] <= batch.last_offset - left
            and all(map(lt, offsets, offsets[1:]))
        ):
            raise UnreadError("a record's offset cannot be its own")
        if min([record.timestamp for record in records]) < 0:
            raise UnreadError("a record's time is too large")
        lowest = offsets[-1] + 1
        yield records
    _check_end(found)


def _iterate(batch: Any) -> Iterator[Any]:
    try:
        return chain(CompiledBatch(_uncompressed(batch)))  # iterated over once, in several goes
    except Exception as error:
        raise UnreadError from error


def _next_records(found: Iterator[Any], left: int) -> ReadRecords:
    try:
        records = ReadRecords(islice(found, min(_CHUNK_RECORDS, left)))
    except Exception as error:
        raise UnreadError from error
    if not records:
        raise UnreadError("there are fewer records than the batch says")
    return records


def _check_end(found: Iterator[Any]) -> None:
    try:
        for _ in found:
            raise UnreadError("there are more records than the batch says")
    except UnreadError:
        raise
    except Exception as error:
        raise UnreadError from error


def _uncompressed(batch: Any) -> bytearray | memoryview:
    """Return a batch as if it had never been compressed, in front of a margin."""
    content = batch._buffer
    if _has_margin(content) and batch.compression_type == batch.CODEC_NONE:
        return content  # type: ignore[no-any-return]  # the library is untyped
    if batch.compression_type == batch.CODEC_NONE:
        return memoryview(b"%b%b" % (content, _MARGIN))[: -len(_MARGIN)]
    fields = list(batch._header_data)
    fields[_ATTRIBUTES] &= ~batch.CODEC_MASK
    return memoryview(b"%b%b%b" % (_HEADER.pack(*fields), content, _MARGIN))[: -len(_MARGIN)]
