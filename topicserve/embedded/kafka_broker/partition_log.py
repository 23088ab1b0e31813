"""One partition: its batches, its producers' sequences, its open and aborted transactions."""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from topicserve.embedded.kafka_broker.error_codes import Code
from topicserve.embedded.kafka_broker.log_file import LogFile
from topicserve.embedded.kafka_broker.record_batch import (
    BatchHeader,
    end_marker,
    is_commit_marker,
    placed,
    read_header,
)

# As many batches as an idempotent producer may have on their way (KIP-98).
_REMEMBERED_BATCHES = 5


class Batch(NamedTuple):
    """A batch at its place in the log."""

    base_offset: int
    last_offset: int
    max_timestamp: int
    data: bytes


class AbortedTransaction(NamedTuple):
    """A transaction that ended with an abort marker at `last_offset`."""

    producer_id: int
    first_offset: int
    last_offset: int


class _Producer:
    """What a partition remembers of a producer, to recognise repeats and gaps."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.batches: deque[tuple[int, int, int]] = deque(maxlen=_REMEMBERED_BATCHES)


class PartitionLog:
    """An append-only list of batches in memory, in a file too where there is one.

    Bounded by `retention_bytes`: the oldest batches go first, the newest always stays.
    """

    def __init__(self, retention_bytes: int, file: LogFile | None = None) -> None:
        self._retention_bytes = retention_bytes
        self._file = file
        self.batches: list[Batch] = []
        self._last_offsets: list[int] = []
        self.start_offset = 0
        self.end_offset = 0
        self.size_bytes = 0
        self._producers: dict[int, _Producer] = {}
        self.open_transactions: dict[int, int] = {}
        self.aborted: list[AbortedTransaction] = []
        self._waiters: dict[object, Callable[[], None]] = {}
        if file is not None:
            for header, data in file.load():
                self._place(header, data)

    @property
    def last_stable_offset(self) -> int:
        """Return up to where readers of committed records may read."""
        return min(self.open_transactions.values(), default=self.end_offset)

    def check_sequence(self, header: BatchHeader) -> Code | int | None:
        """Return an error, the offset of a batch that is here already, or None to append it."""
        if header.producer_id < 0:
            return None
        producer = self._producers.get(header.producer_id)
        if producer is None:
            return None
        if header.producer_epoch < producer.epoch:
            return Code.INVALID_PRODUCER_EPOCH
        if header.producer_epoch > producer.epoch or not producer.batches:
            return None if header.base_sequence in (0, -1) else Code.OUT_OF_ORDER_SEQUENCE_NUMBER
        for first, last, offset in producer.batches:
            if (first, last) == (header.base_sequence, header.last_sequence):
                return offset
        expected = (producer.batches[-1][1] + 1) & 0x7FFFFFFF
        return None if header.base_sequence == expected else Code.OUT_OF_ORDER_SEQUENCE_NUMBER

    def append(self, header: BatchHeader, batch: bytes | memoryview) -> int:
        """Append a batch and return its base offset; wakes whoever waits for records."""
        base_offset = self.end_offset
        data = placed(batch, header, base_offset)
        if self._file is not None:
            self._file.append(data)
        self._place(header._replace(base_offset=base_offset), data)
        self._retain()
        waiters, self._waiters = self._waiters, {}
        for wake in waiters.values():
            wake()
        return base_offset

    def end_transaction(self, producer_id: int, producer_epoch: int, *, committed: bool) -> None:
        """Append the marker that ends a producer's transaction here."""
        marker = end_marker(producer_id, producer_epoch, committed=committed)
        self.append(read_header(marker), marker)

    def read(
        self, offset: int, limit_offset: int, max_bytes: int, *, at_least_one: bool
    ) -> tuple[list[bytes], int]:
        """Return whole batches from an offset on, and the last offset among them."""
        index = bisect_left(self._last_offsets, offset)
        found: list[bytes] = []
        size, last = 0, offset
        while index < len(self.batches) and self.batches[index].base_offset < limit_offset:
            batch = self.batches[index]
            # One batch is returned even if it is too large, or a reader would never get past it.
            if size + len(batch.data) > max_bytes and (found or not at_least_one):
                break
            found.append(batch.data)
            size += len(batch.data)
            last = batch.last_offset
            index += 1
        return found, last

    def aborted_between(self, first: int, last: int) -> Iterator[AbortedTransaction]:
        """Yield the aborted transactions that touch these offsets."""
        return (a for a in self.aborted if a.last_offset >= first and a.first_offset <= last)

    def delete_before(self, offset: int) -> None:
        """Drop whole batches before an offset."""
        count = bisect_left(self._last_offsets, offset)
        self._drop(min(count, len(self.batches)))
        self.start_offset = max(self.start_offset, min(offset, self.end_offset))

    def wait(self, key: object, wake: Callable[[], None]) -> None:
        """Have `wake` called at the next append, once."""
        self._waiters[key] = wake

    def forget(self, key: object) -> None:
        """Wait no longer."""
        self._waiters.pop(key, None)

    def close(self, *, delete: bool = False) -> None:
        """Close the file, or delete it with the topic."""
        if self._file is not None:
            self._file.close(delete=delete)
        waiters, self._waiters = self._waiters, {}
        for wake in waiters.values():
            wake()

    def _place(self, header: BatchHeader, data: bytes) -> None:
        last = header.base_offset + header.last_offset_delta
        self.batches.append(Batch(header.base_offset, last, header.max_timestamp, data))
        self._last_offsets.append(last)
        if len(self.batches) == 1:
            self.start_offset = header.base_offset
        self.end_offset = last + 1
        self.size_bytes += len(data)
        if header.producer_id >= 0:
            self._note_producer(header, data)

    def _note_producer(self, header: BatchHeader, data: bytes) -> None:
        if header.is_control:
            first = self.open_transactions.pop(header.producer_id, None)
            if first is not None and not is_commit_marker(data):
                self.aborted.append(
                    AbortedTransaction(header.producer_id, first, header.base_offset)
                )
        elif header.is_transactional:
            self.open_transactions.setdefault(header.producer_id, header.base_offset)
        producer = self._producers.get(header.producer_id)
        if producer is None or header.producer_epoch > producer.epoch:
            producer = self._producers[header.producer_id] = _Producer(header.producer_epoch)
        if not header.is_control:
            producer.batches.append(
                (header.base_sequence, header.last_sequence, header.base_offset)
            )

    def _retain(self) -> None:
        # An eighth at a time: dropping the head of a list moves all that is behind it.
        if self.size_bytes <= self._retention_bytes * 9 // 8:
            return
        count, size = 0, self.size_bytes
        while size > self._retention_bytes and count < len(self.batches) - 1:
            size -= len(self.batches[count].data)
            count += 1
        self._drop(count)

    def _drop(self, count: int) -> None:
        if not count:
            return
        dropped = self.batches[:count]
        del self.batches[:count], self._last_offsets[:count]
        freed = sum(len(batch.data) for batch in dropped)
        self.size_bytes -= freed
        self.start_offset = self.batches[0].base_offset if self.batches else self.end_offset
        self.aborted = [a for a in self.aborted if a.last_offset >= self.start_offset]
        if self._file is not None:
            self._file.dropped(freed, self.batches, self.size_bytes)
