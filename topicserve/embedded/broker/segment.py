from bisect import bisect_left

from topicserve.embedded.broker.record_batch import Buffer, RecordBatch


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

    def read(
        self, offset: int, end: int, max_bytes: int, payloads: list[Buffer], *, at_least_one: bool
    ) -> int:
        """Add what lies from an offset on and before the end; return how many bytes that is."""
        taken = 0
        for index in range(bisect_left(self._last_offsets, offset), len(self.batches)):
            batch = self.batches[index]
            fits = taken + len(batch.payload) <= max_bytes
            if not (fits or (at_least_one and not payloads)) or batch.base_offset >= end:
                break
            payloads.append(batch.payload)
            taken += len(batch.payload)
        return taken
