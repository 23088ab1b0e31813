"""How far a replay is, as its group has committed it: the same for every replica."""

from collections.abc import Mapping
from dataclasses import dataclass

from topicserve.backends.broker import OffsetsAdmin
from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.replay.progress_note import (
    ForeignGroupError,
    OffsetRange,
    ProgressNote,
    Ranges,
    Tally,
    split,
)


@dataclass(frozen=True, slots=True)
class ReplayProgress:
    """What is committed of each partition, and the ranges of those that no one has begun."""

    notes: Mapping[TopicPartition, ProgressNote]
    offsets: Mapping[TopicPartition, int]
    """The committed offset of each partition that has a note."""
    waiting: Mapping[TopicPartition, OffsetRange]

    @property
    def ranges(self) -> Ranges:
        """Return the range of each partition."""
        return {**self.waiting, **{p: note.range for p, note in self.notes.items()}}

    @property
    def total_offsets(self) -> int:
        """Return how many offsets the ranges have: records, markers and deleted ones."""
        return sum(own.length for own in self.ranges.values())

    @property
    def done_offsets(self) -> int:
        """Return how many of them are committed."""
        return sum(
            min(self.offsets[p], note.range.end) - note.range.start
            for p, note in self.notes.items()
        )

    @property
    def left(self) -> dict[TopicPartition, int]:
        """Return how many offsets are left of each partition that is not done."""
        left = {p: own.length for p, own in self.waiting.items()}
        left |= {p: note.range.end - self.offsets[p] for p, note in self.notes.items()}
        # A partition without offsets to read counts too until its range is committed.
        return {p: n for p, n in left.items() if n > 0 or p in self.waiting}

    @property
    def is_complete(self) -> bool:
        """Return whether every range is committed to its end."""
        return not self.left

    @property
    def tally(self) -> Tally:
        """Return the account of all partitions."""
        total = Tally()
        for note in self.notes.values():
            total = total.plus(note.tally)
        return total


def read_progress(
    admin: OffsetsAdmin, group_id: str, job: str, ranges: Ranges, timeout_seconds: float
) -> ReplayProgress:
    """Ask the group how far it is; `ranges` count for partitions without a committed offset.

    Raises ForeignGroupError where the group is another program's, or another replay's.
    """
    committed = admin.committed(group_id, sorted(ranges), timeout_seconds)
    notes, offsets = {}, {}
    for partition, offset in committed.items():
        if offset is None:
            continue
        note, _ = split(offset)
        if note.job != job:
            raise ForeignGroupError("has replayed something else")
        notes[partition], offsets[partition] = note, int(offset)
    waiting = {partition: own for partition, own in ranges.items() if partition not in notes}
    return ReplayProgress(notes, offsets, waiting)
