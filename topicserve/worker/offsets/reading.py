"""How far each partition has been read, and how much of that is not finished."""

from collections.abc import Mapping

from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.offsets.assignment import Gap, known
from topicserve.worker.offsets.assignments import Assignments


class Reading:
    """What gauges, the broker watch and the quarantine ask of the assignments.

    Any thread may call it; nothing blocks for longer than the assignments' lock is held.
    """

    def __init__(self, assignments: Assignments) -> None:
        self._assignments = assignments
        self._current = assignments.current
        self._lock = assignments.lock

    def positions(self) -> dict[TopicPartition, int]:
        """Return the offset that is read next of each partition, where it is known."""
        with self._lock:
            return known(
                {assignment.partition: assignment.position for assignment in self._current.values()}
            )

    def first_offsets(self) -> dict[TopicPartition, int]:
        """Return the first offset polled of each partition that had one."""
        with self._lock:
            return {
                assignment.partition: assignment.first_offset
                for assignment in self._current.values()
                if assignment.first_offset is not None
            }

    def pass_to(self, positions: Mapping[TopicPartition, int]) -> None:
        """Note how far the consumer has read: past markers and aborted records, too.

        To be called with what the consumer says after the records that it returned are tracked.
        """
        with self._lock:
            for partition, offset in positions.items():
                assignment = self._current.get(partition)
                if assignment is None:
                    continue
                if assignment.is_behind(offset):
                    self._assignments.mark_replaced(assignment, offset)
                else:
                    self._assignments.note_gap(assignment.pass_to(offset))

    def without_start(self) -> list[TopicPartition]:
        """Return the partitions of which it is not known where the group stood."""
        with self._lock:
            return [
                partition
                for partition, assignment in self._current.items()
                if assignment.start_offset is None and assignment.committed is None
            ]

    def start_at(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Note where the group stood when these partitions were assigned."""
        with self._lock:
            for partition, offset in offsets.items():
                if partition in self._current:
                    self._assignments.note_gap(self._current[partition].start_at(offset))

    def take_gaps(self) -> list[Gap]:
        """Return the gaps met since the last time."""
        with self._lock:
            gaps = list(self._assignments.gaps)
            self._assignments.gaps.clear()
            return gaps

    def last_timestamps_ms(self) -> dict[TopicPartition, int]:
        """Return the timestamp of the last record polled of each partition; -1 for none."""
        with self._lock:
            return {p: assignment.last_timestamp_ms for p, assignment in self._current.items()}

    def unfinished(self, partition: TopicPartition) -> range:
        """Return the offsets from a partition's oldest unfinished record to its position.

        They are none, at 0, where it is not known. It waits for no lock: a scrape asks for it
        whatever the worker's threads are held by.
        """
        assignment = self._current.get(partition)
        return range(0) if assignment is None else assignment.unfinished

    def oldest_timestamp_ms(self, partition: TopicPartition) -> int | None:
        """Return about the timestamp of a partition's oldest unfinished record, if it has one.

        It waits for no lock, either.
        """
        assignment = self._current.get(partition)
        return None if assignment is None else assignment.oldest_timestamp_ms
