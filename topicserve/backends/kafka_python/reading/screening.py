"""Looks at batches before a client sees them that may not survive it.

librdkafka (2.16) decompresses whatever it fetches, without a bound. A batch that is cut off has it
spin, fetch for ever without an error, or abort the process; one of a few kilobytes may take
gigabytes. Here the same batches are checked and decompressed by Python, within a bound.
"""

# ruff: noqa: SLF001 - there is no other place

import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import kafka
from kafka.consumer.fetcher import ConsumerRecord

from topicserve.backends.kafka_python.connection import ClientNetwork
from topicserve.backends.kafka_python.errors import translated
from topicserve.backends.kafka_python.workarounds.unreadable import (
    Batches,
    ReadableRecords,
    is_missing_library,
)
from topicserve.errors import TopicserveError
from topicserve.wire.kafka_record import TopicPartition

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.05
_OPEN_SECONDS = 5.0
_CLOSE_SECONDS = 1.0


class UnsoundBatchError(TopicserveError):
    """A batch that decompresses, but not to what its header says."""


def screen(
    arguments: dict[str, Any],
    starts: Mapping[TopicPartition, int | None],
    max_bytes: Mapping[TopicPartition, int],
    max_decompressed_bytes: int,
    timeout_seconds: float,
    *,
    is_thorough: bool = False,
) -> dict[TopicPartition, tuple[int, int]]:
    """Return where batches are unsound: the offset that reading starts at, and the one behind them.

    `starts` has the offsets to look from, None for the beginning; `max_bytes` how far to look. What
    is not looked at in time is taken for sound. A thorough look decodes every record, which takes
    much longer. Raises BackendError where no broker answers.
    """
    deadline = time.monotonic() + timeout_seconds
    client = ClientNetwork().open(
        kafka.KafkaConsumer, arguments, min(timeout_seconds, _OPEN_SECONDS)
    )
    try:
        with translated():
            screening = _Screening(client, starts, max_bytes, max_decompressed_bytes, is_thorough)
            return screening.run(deadline)
    finally:
        client.close(autocommit=False, timeout_ms=_CLOSE_SECONDS * 1000)


class _Screening:
    def __init__(
        self,
        client: Any,
        starts: Mapping[TopicPartition, int | None],
        max_bytes: Mapping[TopicPartition, int],
        max_decompressed_bytes: int,
        is_thorough: bool,
    ) -> None:
        self._client = client
        self._starts = starts
        left = self._left = dict(max_bytes)

        class Records(_ScreenedRecords):
            _max_bytes = max_decompressed_bytes
            _left = left
            _is_thorough = is_thorough
            _missing: ClassVar = set[str]()

        client._fetcher.PartitionRecords = Records

    def run(self, deadline: float) -> dict[TopicPartition, tuple[int, int]]:
        client = self._client
        asked = {partition: kafka.TopicPartition(*partition) for partition in self._starts}
        client.assign(list(asked.values()))
        begins = client.beginning_offsets(list(asked.values()))
        ends = client.end_offsets(list(asked.values()))
        first: dict[TopicPartition, int] = {}
        for partition, start in self._starts.items():
            begin = int(begins[asked[partition]])
            first[partition] = begin if start is None else max(start, begin)
            client.seek(asked[partition], first[partition])
        unsound: dict[TopicPartition, tuple[int, int]] = {}
        pending = set(asked)
        while True:
            for partition in list(pending):
                position = client._subscription.assignment[asked[partition]].position
                if position is None:
                    continue  # it was deleted meanwhile, and is looked for
                is_at_end = position.offset >= int(ends[asked[partition]])
                if self._left[partition] <= 0 or is_at_end:
                    pending.remove(partition)
                    client.pause(asked[partition])
            if not pending or time.monotonic() >= deadline:
                return unsound
            polled = client.poll(timeout_ms=_POLL_SECONDS * 1000)
            for theirs, found in polled.items():
                partition = TopicPartition(*theirs)
                unsound[partition] = first[partition], found[-1].offset + 1


class _ScreenedRecords(ReadableRecords):
    """Yields one record for each unsound batch, at its last offset, and none for the others."""

    _left: dict[TopicPartition, int]
    """How many bytes of each partition are still to be looked at."""
    _is_thorough = False
    _missing: ClassVar[set[str]]
    """Which codecs were told to be missing, by kafka-python's words."""

    def _unpack_records(self, tp: Any, records: Any, *_: Any) -> Iterator[Any]:
        batches = Batches(records, self._max_bytes, at_once=self._at_once)
        partition = TopicPartition(*tp)
        while self._left[partition] > 0:
            try:
                batch = batches.next_batch()
                if batch is None:
                    break
                self._left[partition] -= len(batch._buffer)
                _check(batch)
                if self._is_thorough:
                    for _ in batch:
                        pass
            except Exception as error:
                batch = batches.current
                if batch is None:
                    break  # an answer that is cut off within a batch's header
                if not is_missing_library(error):
                    yield self._pass_over(tp, batches)
                    continue
                self._tell_missing(error)
            self.next_fetch_offset = max(self.next_fetch_offset, batch.next_offset)
        self.drain()

    def _tell_missing(self, error: Exception) -> None:
        if str(error) in self._missing:
            return
        self._missing.add(str(error))
        log.warning(
            "batches are not checked before they are fetched: %s; install topicserve[codecs]",
            str(error),
        )

    def _pass_over(self, tp: Any, batches: Batches) -> Any:
        last = max(self._last_offset(batches), self.next_fetch_offset, batches.current.base_offset)
        self.next_fetch_offset = last + 1
        return ConsumerRecord(tp.topic, tp.partition, -1, last, 0, 0, *[None] * 4, -1, -1, -1)


def _check(batch: Any) -> None:
    """Raise an error if a batch is unsound."""
    if not batch.validate_crc():
        raise UnsoundBatchError("its checksum is wrong")
    if batch.magic < 2:
        for _ in batch:
            pass
        return
    batch._maybe_uncompress()
    content, position = batch._buffer, batch._pos
    if batch.compression_type != batch.CODEC_NONE and not content:
        raise UnsoundBatchError("decompresses to nothing")
    end = len(content)
    for _ in range(batch.records_count):
        size, position = _varint(content, position)
        position += size
        if size < 0 or position > end:
            raise UnsoundBatchError("its records are cut off")
    if position != end:
        raise UnsoundBatchError("it has bytes behind its records")


def _varint(content: Any, position: int) -> tuple[int, int]:
    """Return a zigzag varint, and where it ends."""
    octet = content[position]
    position += 1
    value = octet & 0x7F
    shift = 7
    while octet & 0x80:
        octet = content[position]
        position += 1
        value |= (octet & 0x7F) << shift
        shift += 7
    return (value >> 1) ^ -(value & 1), position
