"""One partition's log: offsets, retention, transactions, and those who wait for more."""

import asyncio
from collections.abc import Iterator
from typing import NamedTuple

from topicserve.embedded.broker.error_codes import ErrorCode, KafkaError
from topicserve.embedded.broker.log.partition_files import PartitionFiles
from topicserve.embedded.broker.log.producer_states import ProducerStates
from topicserve.embedded.broker.log.record_batch import RecordBatch, first_record_since
from topicserve.embedded.broker.log.segment import Segment


class AbortedTransaction(NamedTuple):
    """Where an aborted transaction's records lie, for readers of committed ones to skip."""

    producer_id: int
    first_offset: int
    last_offset: int


class Partition:
    """One partition's log: batches as received but for their offsets, in memory and in files.

    All calls come from the event loop's thread. Batches are not decompressed: only their headers
    are read, but for a search by time.
    """

    def __init__(
        self, topic: str, index: int, segment_bytes: int, files: PartitionFiles | None = None
    ) -> None:
        self.topic = topic
        self.index = index
        self.producers = ProducerStates()
        self.open_transactions: dict[int, int] = {}
        """The first offset of each producer's open transaction."""
        self.size_bytes = 0
        self._segment_bytes = segment_bytes
        self._files = files
        self._segments = [Segment(0)]
        self._end_offset = 0
        self._start_offset = 0
        self._aborted: list[AbortedTransaction] = []
        self._waiters: set[asyncio.Future[None]] = set()
        if files is not None:
            self._load(files)

    @property
    def log_start_offset(self) -> int:
        """Return the offset of the first record that is still here."""
        return max(self._start_offset, self._segments[0].base_offset)

    @property
    def end_offset(self) -> int:
        """Return the offset that the next record will get; also the high watermark."""
        return self._end_offset

    @property
    def last_stable_offset(self) -> int:
        """Return the offset before which every transaction has ended."""
        if not self.open_transactions:
            return self._end_offset
        return max(self.log_start_offset, min(self.open_transactions.values()))

    @property
    def has_older_segments(self) -> bool:
        """Tell whether something can go without what is being written to."""
        return len(self._segments) > 1

    def append(self, batch: RecordBatch) -> int:
        """Give a batch the next offsets, keep it, and wake who waits; return its first offset.

        It is in the file before it can be seen or acknowledged. Raises OSError when it cannot be.
        """
        placed = batch.at(self._end_offset)
        if self._segments[-1].size_bytes >= self._segment_bytes:
            self._roll()
        if self._files is not None:
            self._files.append(placed.payload)
        self._add(placed)
        self._wake()
        return placed.base_offset

    def read(
        self, offset: int, *, committed: bool, max_bytes: int, at_least_one: bool
    ) -> list[RecordBatch]:
        """Return whole batches from an offset on, as many as fit into `max_bytes`.

        With `committed` those before the last stable offset only. With `at_least_one` the first
        comes whatever its size, or no reader could pass it. The first may begin below the offset:
        readers skip what they did not ask for, as with Kafka.
        """
        end = self.last_stable_offset if committed else self._end_offset
        batches: list[RecordBatch] = []
        taken = 0
        for batch in self._since(offset):
            taken += len(batch.payload)
            fits = taken <= max_bytes or (at_least_one and not batches)
            if batch.base_offset >= end or not fits:
                break
            batches.append(batch)
        return batches

    def aborted_between(self, first_offset: int, last_offset: int) -> list[AbortedTransaction]:
        """Return the aborted transactions of which a part lies between two offsets."""
        return [
            aborted
            for aborted in self._aborted
            if aborted.last_offset >= first_offset and aborted.first_offset <= last_offset
        ]

    def find_time(self, timestamp: int) -> tuple[int, int] | None:
        """Return offset and timestamp of the first record that is not older, if there is one."""
        for batch in self._batches():
            if batch.max_timestamp >= timestamp and not batch.is_control:
                found = first_record_since(batch.payload, timestamp)
                if found is not None and found[0] >= self.log_start_offset:
                    return found
        return None

    def newest_timestamp(self) -> int | None:
        """Return the highest timestamp of all records, if there are any."""
        stamps = (batch.max_timestamp for batch in self._batches() if not batch.is_control)
        return max(stamps, default=None)

    def drop_oldest_segment(self) -> int:
        """Let the oldest segment go and return how many bytes that were."""
        if len(self._segments) == 1:
            self._roll()
        segment = self._segments.pop(0)
        self.size_bytes -= segment.size_bytes
        if self._files is not None:
            self._files.drop(segment.base_offset)
        self._aborted = self.aborted_between(self.log_start_offset, self._end_offset)
        self.producers.forget_before(self.log_start_offset)
        return segment.size_bytes

    def delete_before(self, offset: int) -> int:
        """Let the records below an offset go; return how many bytes that freed.

        Raises KafkaError OFFSET_OUT_OF_RANGE for an offset behind the end.
        """
        if not 0 <= offset <= self._end_offset:
            raise KafkaError(ErrorCode.OFFSET_OUT_OF_RANGE)
        self._start_offset = max(self._start_offset, offset)
        freed_bytes = 0
        while self._segments[-1].base_offset < self._end_offset == offset or (
            len(self._segments) > 1 and self._segments[1].base_offset <= offset
        ):
            freed_bytes += self.drop_oldest_segment()
        return freed_bytes

    def wait(self, waiter: asyncio.Future[None]) -> None:
        """Complete this future at the next change, unless it is given up before."""
        self._waiters.add(waiter)

    def give_up(self, waiter: asyncio.Future[None]) -> None:
        """No longer wait."""
        self._waiters.discard(waiter)

    def close(self) -> None:
        """Close the files."""
        if self._files is not None:
            self._files.close()

    def delete(self) -> None:
        """Delete everything; those who wait are told to look again."""
        if self._files is not None:
            self._files.delete()
        self._wake()

    def _load(self, files: PartitionFiles) -> None:
        found = list(files.load()) or [(0, [])]
        self._segments.clear()
        for base_offset, batches in found:
            self._segments.append(Segment(base_offset))
            self._end_offset = base_offset
            for batch in batches:
                self._add(batch)
        files.roll(self._segments[-1].base_offset)

    def _roll(self) -> None:
        self._segments.append(Segment(self._end_offset))
        if self._files is not None:
            self._files.roll(self._end_offset)

    def _add(self, batch: RecordBatch) -> None:
        self._segments[-1].add(batch)
        self.size_bytes += len(batch.payload)
        self._end_offset = batch.last_offset + 1
        if batch.producer_id >= 0:
            self.producers.add(batch)
        if batch.is_control:
            first_offset = self.open_transactions.pop(batch.producer_id, None)
            if first_offset is not None and batch.aborts:
                aborted = AbortedTransaction(batch.producer_id, first_offset, batch.last_offset)
                self._aborted.append(aborted)
        elif batch.is_transactional:
            self.open_transactions.setdefault(batch.producer_id, batch.base_offset)

    def _since(self, offset: int) -> Iterator[RecordBatch]:
        # From the end: readers mostly are near it.
        position = len(self._segments) - 1
        while position > 0 and self._segments[position].base_offset > offset:
            position -= 1
        for segment in self._segments[position:]:
            yield from segment.since(offset)

    def _batches(self) -> Iterator[RecordBatch]:
        for segment in self._segments:
            yield from segment.batches

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
