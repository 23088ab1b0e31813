"""Which offsets are to be committed, with which notes, and which are committed."""

from collections.abc import Collection, Mapping

from topicserve.backends.broker import OffsetAndMetadata, metadata_of
from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.offsets.assignment import PartitionAssignment, known
from topicserve.worker.offsets.assignments import Assignments


class Commits:
    """What the deliveries commit, never past an unfinished record. Any thread may call it.

    It commits nothing itself: the delivery that asked does, and then says so with `committed`.
    Nothing blocks for longer than the assignments' lock is held.
    """

    def __init__(self, assignments: Assignments) -> None:
        self._assignments = assignments
        self._current = assignments.current
        self._lock = assignments.lock
        self._changed = assignments.changed
        self.count = 0
        """How often offsets moved on."""

    def committable(self) -> dict[TopicPartition, int]:
        """Return the next offsets, with their notes, where either is not committed yet."""
        with self._lock:
            return known(
                {
                    partition: assignment.to_commit
                    for partition, assignment in self._current.items()
                    if partition not in self._assignments.replaced
                }
            )

    def committable_notes(
        self, in_doubt: Collection[TopicPartition] = ()
    ) -> dict[TopicPartition, int]:
        """Return the notes that are not committed yet, at the offsets that are.

        With those of partitions of which it is not known what was committed.
        """
        with self._lock:
            found = {
                assignment.partition: assignment.noted_offset
                for assignment in self._current.values()
                if (
                    assignment.note != assignment.committed_note or assignment.partition in in_doubt
                )
                and assignment.partition not in self._assignments.replaced
            }
            return {
                partition: OffsetAndMetadata(offset, self._current[partition].note)
                for partition, offset in found.items()
                if offset is not None
            }

    def cut(self) -> dict[PartitionAssignment, int]:
        """Return where each assignment stands that has anything to commit, once all is finished."""
        with self._lock:
            ends = {
                assignment: assignment.finished_to
                if assignment.first_offset is None
                else assignment.position
                for assignment in self._current.values()
                if assignment.new_log_position is None
            }
            for assignment in self._current.values():
                if assignment.new_log_position is not None:
                    ends[assignment] = assignment.new_log_position
            # Said again, an offset that is committed could reach a log that took the log's place.
            return {
                assignment: end
                for assignment, end in ends.items()
                if end is not None
                and (
                    end != assignment.committed
                    or assignment.in_flight
                    or (assignment.note != assignment.committed_note and not assignment.log_doubted)
                )
            }

    def cut_committable(self) -> dict[PartitionAssignment, int]:
        """Return what `committable` does, by assignment."""
        with self._lock:
            return {self._current[partition]: end for partition, end in self.committable().items()}

    def with_notes(self, cut: Mapping[PartitionAssignment, int]) -> dict[TopicPartition, int]:
        """Return the offsets of a cut with the notes that their assignments have now.

        Those of assignments that are no longer there are left out: their records are done with.
        """
        with self._lock:
            return {
                assignment.partition: OffsetAndMetadata(offset, assignment.note)
                for assignment, offset in cut.items()
                if self._current.get(assignment.partition) is assignment
                and assignment.new_log_position in (None, offset)
                and not (assignment.log_doubted and offset == assignment.committed)
            }

    def committed(
        self,
        offsets: Mapping[TopicPartition, int],
        cut: Mapping[PartitionAssignment, int] | None = None,
    ) -> None:
        """Record that these offsets are committed, with their notes.

        With a `cut`, only of the assignments it was made of: others may have taken their place.
        """
        with self._lock:
            if cut is not None:
                offsets = {p: o for p, o in offsets.items() if self._current.get(p) in cut}
            # A note alone is no progress.
            self.count += any(
                partition not in self._current or self._current[partition].committed != offset
                for partition, offset in offsets.items()
            )
            for partition, offset in offsets.items():
                assignment = self._current.get(partition)
                if assignment is not None:
                    assignment.committed = int(offset)
                    assignment.committed_note = metadata_of(offset)
            self._changed.notify_all()

    def note(self, partition: TopicPartition, note: str) -> None:
        """Set what is committed beside a partition's next offset from now on."""
        with self._lock:
            assignment = self._current.get(partition)
            if assignment is not None:
                assignment.note = note
