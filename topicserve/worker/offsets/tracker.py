"""The offset tracker: which records are in progress, and up to where each partition is finished."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from operator import le
from typing import Protocol

from topicserve.backends.broker import OffsetAndMetadata, metadata_of
from topicserve.wire.kafka_record import KafkaRecord, TopicPartition
from topicserve.worker.offsets.assignment import Gap, PartitionAssignment
from topicserve.worker.telemetry.logging import log_event

MAX_GAPS = 1000


class Tracked(Protocol):
    """A record that the tracker was told of."""

    @property
    def record(self) -> KafkaRecord:
        """The record itself."""

    @property
    def assignment(self) -> PartitionAssignment:
        """The assignment that `OffsetTracker.track` returned for it."""

    @property
    def size_bytes(self) -> int:
        """The bytes that were counted for it."""


def _runs(records: Sequence[KafkaRecord]) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each run of records of one partition."""
    start = 0
    for index in range(1, len(records)):
        before, record = records[index - 1], records[index]
        if record.partition != before.partition or record.topic != before.topic:
            yield start, index
            start = index
    if records:
        yield start, len(records)


def _rising(offsets: Sequence[int]) -> Iterator[Sequence[int]]:
    """Yield the parts of a run within which offsets rise: all of it, but where a log began again.

    Producers can write such offsets, too: brokers take uncompressed batches as they are.
    """
    if not any(map(le, islice(offsets, 1, None), offsets)):
        yield offsets
        return
    start = 0
    for index in range(1, len(offsets)):
        if offsets[index] <= offsets[index - 1]:
            yield offsets[start:index]
            start = index
    yield offsets[start:]


def _known(offsets: Mapping[TopicPartition, int | None]) -> dict[TopicPartition, int]:
    return {partition: offset for partition, offset in offsets.items() if offset is not None}


class OffsetTracker:
    """Accounts for every record from poll to acknowledgement. Any thread may call it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._assignments: dict[TopicPartition, PartitionAssignment] = {}
        self._records = 0
        self._bytes = 0
        self._outcome_bytes = 0
        self._gaps: deque[Gap] = deque(maxlen=MAX_GAPS)
        # Slots that offsets went back from, until their records are finished.
        self._replaced: dict[TopicPartition, list[PartitionAssignment]] = {}
        self._started: dict[TopicPartition, bool] = {}
        self.on_assign: Callable[[], None] = lambda: None
        """Called when partitions were assigned; it must return at once."""
        self.polls = 0
        """How often records were polled."""
        self.commits = 0
        """How often offsets moved on."""
        self.abandoned_records = 0
        """How many records were unfinished when their partitions were released."""

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        """Open an assignment for each newly assigned partition."""
        with self._changed:
            for partition in partitions:
                self._assignments[partition] = PartitionAssignment(partition)
        self.on_assign()

    def track(self, records: Sequence[KafkaRecord]) -> list[PartitionAssignment | None]:
        """Take polled records in; None stands for one whose partition is no longer ours."""
        assignments: list[PartitionAssignment | None] = []
        with self._changed:
            self.polls += 1
            for start, stop in _runs(records):
                first = records[start]
                assignment = self._assignments.get(TopicPartition(first.topic, first.partition))
                if assignment is None:
                    assignments += [None] * (stop - start)
                    continue
                for offsets in _rising([record.offset for record in records[start:stop]]):
                    assignment = self._from_the_beginning(assignment, offsets[0])
                    if assignment.first_offset is None:
                        self._started.setdefault(assignment.partition, False)
                    self._note_gap(assignment.track(offsets, first.timestamp_ms))
                    self._records += len(offsets)
                    assignments += [assignment] * len(offsets)
        return assignments

    def _from_the_beginning(
        self, assignment: PartitionAssignment, offset: int
    ) -> PartitionAssignment:
        """Return the assignment, or a new one where the offsets have gone back.

        They do so where a topic was deleted and created again, or its end was lost, and the client
        goes on without a new assignment. What is known of the old offsets is about other records:
        none of it is committed any more. The records themselves are answered all the same, and
        nothing else is committed before.
        """
        position = assignment.position
        if position is None or offset >= position:
            return assignment
        log_event(
            "offsets_went_back",
            logging.WARNING,
            topic=assignment.partition.topic,
            partition=assignment.partition.partition,
            from_offset=position,
            to_offset=offset,
        )
        if assignment.in_flight:
            self._replaced.setdefault(assignment.partition, []).append(assignment)
        else:
            assignment.closed = True
        self._started[assignment.partition] = True
        self._mark_replaced(assignment)
        new = self._assignments[assignment.partition] = PartitionAssignment(assignment.partition)
        return new

    def _mark_replaced(self, assignment: PartitionAssignment) -> None:
        """Commit nothing more for the topic's partitions, each until a record of it comes.

        A topic that was created again has new logs in all of its partitions, most likely. A note
        committed beside an old offset would have the new log read from there.
        """
        if not assignment.log_replaced:  # or else it was marked with the first one
            for other in self._assignments.values():
                if other.partition.topic == assignment.partition.topic:
                    other.log_replaced = True

    @property
    def has_started_partitions(self) -> bool:
        """Return whether `take_started` has something to tell; for the polling thread, unlocked."""
        return bool(self._started)

    def take_started(self) -> dict[TopicPartition, bool]:
        """Return the partitions whose first records were polled since the last time.

        True stands for one whose offsets went back, to those of another log.
        """
        with self._changed:
            started, self._started = self._started, {}
            return started

    def count_bytes(self, size_bytes: int) -> None:
        """Count the bytes of records that were tracked; `finish` takes them off again."""
        with self._changed:
            self._bytes += size_bytes

    def count_outcomes(self, size_bytes: int) -> None:
        """Count the bytes of results and dead letters; `finish` takes them off, or less than 0."""
        with self._changed:
            self._outcome_bytes += size_bytes
            self._changed.notify_all()

    def finish(self, tracked: Sequence[Tracked], outcome_bytes: int = 0) -> None:
        """Note that these records' results or dead letters are acknowledged, in any order."""
        by_slot: dict[PartitionAssignment, list[int]] = {}
        size_bytes = 0
        for item in tracked:
            size_bytes += item.size_bytes
            by_slot.setdefault(item.assignment, []).append(item.record.offset)
        with self._changed:
            for assignment, offsets in by_slot.items():
                if not assignment.closed:
                    assignment.finish(offsets)
                    self._records -= len(offsets)
                    self._forget_replaced(assignment)
            self._bytes -= size_bytes
            self._outcome_bytes -= outcome_bytes
            self._changed.notify_all()

    def committable(self) -> dict[TopicPartition, int]:
        """Return the next offsets, with their notes, where either is not committed yet."""
        with self._changed:
            return _known(
                {
                    partition: assignment.to_commit
                    for partition, assignment in self._assignments.items()
                    if partition not in self._replaced
                }
            )

    def committable_notes(
        self, in_doubt: Collection[TopicPartition] = ()
    ) -> dict[TopicPartition, int]:
        """Return the notes that are not committed yet, at the offsets that are.

        With those of partitions of which it is not known what was committed.
        """
        with self._changed:
            found = {
                assignment.partition: assignment.first_offset
                if assignment.committed is None
                else assignment.committed
                for assignment in self._assignments.values()
                if (
                    assignment.note != assignment.committed_note or assignment.partition in in_doubt
                )
                and not assignment.log_replaced
                and assignment.partition not in self._replaced
            }
            return {
                partition: OffsetAndMetadata(offset, self._assignments[partition].note)
                for partition, offset in found.items()
                if offset is not None
            }

    def committed(
        self,
        offsets: Mapping[TopicPartition, int],
        cut: Mapping[PartitionAssignment, int] | None = None,
    ) -> None:
        """Record that these offsets are committed, with their notes.

        With a `cut`, only of the assignments it was made of: others may have taken their place.
        """
        with self._changed:
            if cut is not None:
                offsets = {p: o for p, o in offsets.items() if self._assignments.get(p) in cut}
            # A note alone is no progress.
            self.commits += any(
                partition not in self._assignments
                or self._assignments[partition].committed != offset
                for partition, offset in offsets.items()
            )
            for partition, offset in offsets.items():
                assignment = self._assignments.get(partition)
                if assignment is not None:
                    assignment.committed = int(offset)
                    assignment.committed_note = metadata_of(offset)
            self._changed.notify_all()

    def first_offsets(self) -> dict[TopicPartition, int]:
        """Return the first offset polled of each partition that had one."""
        with self._changed:
            return {
                assignment.partition: assignment.first_offset
                for assignment in self._assignments.values()
                if assignment.first_offset is not None
            }

    def note(self, partition: TopicPartition, note: str) -> None:
        """Set what is committed beside a partition's next offset from now on."""
        with self._changed:
            assignment = self._assignments.get(partition)
            if assignment is not None:
                assignment.note = note

    def cut(self) -> dict[PartitionAssignment, int]:
        """Return where each assignment stands that has anything to commit, once all is finished."""
        with self._changed:
            ends = {
                assignment: assignment.finished_to
                if assignment.first_offset is None
                else assignment.position
                for assignment in self._assignments.values()
            }
            # Said again, an offset that is committed could reach a log that took the log's place.
            return {
                assignment: end
                for assignment, end in ends.items()
                if end is not None
                and not assignment.log_replaced
                and (
                    end != assignment.committed
                    or assignment.note != assignment.committed_note
                    or assignment.in_flight
                )
            }

    def cut_committable(self) -> dict[PartitionAssignment, int]:
        """Return what `committable` does, by assignment."""
        with self._changed:
            return {
                self._assignments[partition]: end for partition, end in self.committable().items()
            }

    def positions(self) -> dict[TopicPartition, int]:
        """Return the offset that is read next of each partition, where it is known."""
        with self._changed:
            return _known(
                {
                    assignment.partition: assignment.position
                    for assignment in self._assignments.values()
                }
            )

    def pass_to(self, positions: Mapping[TopicPartition, int]) -> None:
        """Note how far the consumer has read: past markers and aborted records, too.

        To be called with what the consumer says after the records that it returned are tracked.
        """
        with self._changed:
            for partition, offset in positions.items():
                assignment = self._assignments.get(partition)
                if assignment is None:
                    continue
                if assignment.is_behind(offset):
                    self._mark_replaced(assignment)
                else:
                    self._note_gap(assignment.pass_to(offset))

    def without_start(self) -> list[TopicPartition]:
        """Return the partitions of which it is not known where the group stood."""
        with self._changed:
            return [
                partition
                for partition, assignment in self._assignments.items()
                if assignment.start_offset is None and assignment.committed is None
            ]

    def start_at(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Note where the group stood when these partitions were assigned."""
        with self._changed:
            for partition, offset in offsets.items():
                if partition in self._assignments:
                    self._note_gap(self._assignments[partition].start_at(offset))

    def take_gaps(self) -> list[Gap]:
        """Return the gaps met since the last time."""
        with self._changed:
            gaps = list(self._gaps)
            self._gaps.clear()
            return gaps

    def unfinished_offsets(self) -> dict[TopicPartition, int]:
        """Return how many offsets lie from the oldest unfinished record to the position."""
        with self._changed:
            return {
                partition: assignment.position - assignment.oldest_offset
                for partition, assignment in self._assignments.items()
                if assignment.position is not None and assignment.oldest_offset is not None
            }

    def oldest_timestamps_ms(self) -> dict[TopicPartition, int]:
        """Return about how old the oldest unfinished record is, of each partition that has one."""
        with self._changed:
            return _known(
                {p: assignment.oldest_timestamp_ms for p, assignment in self._assignments.items()}
            )

    def _note_gap(self, gap: Gap | None) -> None:
        if gap is not None:
            self._gaps.append(gap)

    def with_notes(self, cut: Mapping[PartitionAssignment, int]) -> dict[TopicPartition, int]:
        """Return the offsets of a cut with the notes that their assignments have now.

        Those of assignments that are no longer there are left out: their records are done with.
        """
        with self._changed:
            return {
                assignment.partition: OffsetAndMetadata(offset, assignment.note)
                for assignment, offset in cut.items()
                if self._assignments.get(assignment.partition) is assignment
                and not assignment.log_replaced
            }

    def restart(self) -> dict[TopicPartition, int]:
        """Begin again with the same partitions, and return the offsets to read on from.

        That is what was last committed, or else the first record polled. All that is in progress is
        let go, as by `release`.
        """
        with self._changed:
            old = list(self._assignments.values())
            self._release(assignment.partition for assignment in old)
            offsets = {}
            for before in old:
                assignment = self._assignments[before.partition] = PartitionAssignment(
                    before.partition
                )
                offset = assignment.rewind(before)
                if offset is not None:
                    offsets[before.partition] = offset
            return offsets

    def release(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Close these partitions' assignments and return the offsets up to which they are finished.

        What is still in progress for them no longer counts, and needs no result.
        """
        with self._changed:
            before = self._records
            offsets = self._release(partitions)
            self.abandoned_records += before - self._records
            return offsets

    def _release(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        offsets: dict[TopicPartition, int] = {}
        for partition in partitions:
            assignment = self._assignments.pop(partition, None)
            replaced = self._replaced.pop(partition, [])
            for closing in [*replaced, *([] if assignment is None else [assignment])]:
                closing.closed = True
                self._records -= closing.in_flight
            if assignment is None or replaced:
                continue
            to_commit = assignment.to_commit
            if to_commit is not None:
                offsets[partition] = to_commit
        self._changed.notify_all()
        return offsets

    def _forget_replaced(self, assignment: PartitionAssignment) -> None:
        """Drop an assignment whose offsets went back, once all of its records are finished."""
        replaced = self._replaced.get(assignment.partition)
        if replaced is None or assignment.in_flight or assignment not in replaced:
            return
        assignment.closed = True
        replaced.remove(assignment)
        if not replaced:
            del self._replaced[assignment.partition]

    def partitions(self) -> list[TopicPartition]:
        """Return the partitions that have an assignment."""
        with self._changed:
            return list(self._assignments)

    @property
    def in_flight_records(self) -> int:
        """Return how many records of ours are in progress."""
        return self._records

    @property
    def in_flight_bytes(self) -> int:
        """Return how many bytes of records and outcomes are held, given-up partitions' included."""
        return self._bytes + self._outcome_bytes

    @property
    def outcome_bytes(self) -> int:
        """Return how many bytes of results and dead letters are not acknowledged."""
        return self._outcome_bytes

    def wait_until(self, condition: Callable[[], bool], timeout_seconds: float) -> bool:
        """Wait until a condition on this tracker holds; False if the time ran out first.

        The condition is checked whenever a record is finished or committed, with the lock held.
        """
        with self._changed:
            return self._changed.wait_for(condition, timeout_seconds)

    def wait_finished(self, partitions: Iterable[TopicPartition], timeout_seconds: float) -> bool:
        """Wait until nothing of these partitions is in progress; False if the time ran out."""
        wanted = list(partitions)

        def finished() -> bool:
            return not any(
                partition in self._replaced
                or (partition in self._assignments and self._assignments[partition].in_flight)
                for partition in wanted
            )

        return self.wait_until(finished, timeout_seconds)
