"""A run of a partition's batches in memory; `PartitionFiles` has the file that belongs to it."""

from bisect import bisect_left
from collections.abc import Iterator

from topicserve.embedded.broker.log.record_batch import RecordBatch


class Segment:
    """A run of batches that is kept, and goes, as a whole."""

    def __init__(self, base_offset: int) -> None:
        self.base_offset = base_offset
        self.size_bytes = 0
        self.batches: list[RecordBatch] = []
        self._last_offsets: list[int] = []

    def add(self, batch: RecordBatch) -> None:
        """Add the next batch."""
        self.batches.append(batch)
        self._last_offsets.append(batch.last_offset)
        self.size_bytes += len(batch.payload)

    def since(self, offset: int) -> Iterator[RecordBatch]:
        """Yield the batches from the one on that holds an offset."""
        for position in range(bisect_left(self._last_offsets, offset), len(self.batches)):
            yield self.batches[position]
