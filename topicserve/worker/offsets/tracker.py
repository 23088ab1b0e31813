"""The offset tracker: which records are in progress, and up to where each partition is finished."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from operator import le
from typing import Protocol

from topicserve.wire.kafka_record import KafkaRecord, TopicPartition
from topicserve.worker.offsets.assignment import PartitionAssignment
from topicserve.worker.offsets.assignments import Assignments
from topicserve.worker.offsets.commits import Commits
from topicserve.worker.offsets.reading import Reading

# Records that are finished in another order than that of their offsets are let go in that order all
# the same. Servables that take turns finish every other record, and the gaps which that leaves in
# memory would scatter the records of the next polls, at the cost of every stage. So many records of
# all partitions are kept for it at most, and none of a batch whose records are larger on average.
KEPT_RECORDS = 16384
KEPT_BYTES = 4096


class Tracked(Protocol):
    """A record that the tracker was told of: a request, or a rejection.

    All three are read without a lock: they never change after the record was tracked.
    """

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


class OffsetTracker:
    """Accounts for every record from poll to acknowledgement.

    Any thread may call it, and one lock guards all of it (see Assignments). Only `wait_until` and
    `wait_finished` block. `commits` and `reading` are views of the same assignments.
    """

    def __init__(self) -> None:
        self._assignments = Assignments()
        self._current = self._assignments.current
        self._lock = self._assignments.lock
        self._changed = self._assignments.changed
        self.commits = Commits(self._assignments)
        self.reading = Reading(self._assignments)
        self._records = 0
        self._bytes = 0
        self._outcome_bytes = 0
        self.on_assign: Callable[[], None] = lambda: None
        """Called when partitions were assigned; it must return at once."""
        self.polls = 0
        """How often records were polled."""
        self.abandoned_records = 0
        """How many records were unfinished when their partitions were released."""

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        """Open an assignment for each newly assigned partition."""
        with self._lock:
            for partition in partitions:
                self._current[partition] = PartitionAssignment(partition)
        self.on_assign()

    def track(self, records: Sequence[KafkaRecord]) -> list[PartitionAssignment | None]:
        """Take polled records in; None stands for one whose partition is no longer ours."""
        assignments: list[PartitionAssignment | None] = []
        with self._lock:
            self.polls += 1
            for start, stop in _runs(records):
                first = records[start]
                assignment = self._current.get(TopicPartition(first.topic, first.partition))
                if assignment is None:
                    assignments += [None] * (stop - start)
                    continue
                run = records[start:stop]
                for offsets in _rising([record.offset for record in run]):
                    rising, run = run[: len(offsets)], run[len(offsets) :]
                    position = assignment.position
                    if position is not None and offsets[0] < position:
                        assignment = self._assignments.replace(assignment, offsets[0])
                    if assignment.first_offset is None:
                        self._assignments.started.setdefault(assignment.partition, False)
                    self._assignments.note_gap(assignment.track(offsets, rising))
                    self._records += len(offsets)
                    assignments += [assignment] * len(offsets)
        return assignments

    @property
    def has_started_partitions(self) -> bool:
        """Return whether `take_started` has something to tell; for the polling thread, unlocked."""
        return bool(self._assignments.started)

    def take_started(self) -> dict[TopicPartition, bool]:
        """Return the partitions whose first records were polled since the last time.

        True stands for one whose offsets went back, to those of another log.
        """
        with self._lock:
            started, self._assignments.started = self._assignments.started, {}
            return started

    def count_bytes(self, size_bytes: int) -> None:
        """Count the bytes of records that were tracked; `finish` takes them off again."""
        with self._lock:
            self._bytes += size_bytes

    def count_outcomes(self, size_bytes: int) -> None:
        """Count the bytes of results and dead letters; `finish` takes them off, or less than 0."""
        with self._lock:
            self._outcome_bytes += size_bytes
            self._changed.notify_all()

    def finish(self, tracked: Sequence[Tracked], outcome_bytes: int = 0) -> None:
        """Note that these records' results or dead letters are acknowledged, in any order."""
        by_assignment: dict[PartitionAssignment, list[Tracked]] = {}
        size_bytes = 0
        for item in tracked:
            size_bytes += item.size_bytes
            by_assignment.setdefault(item.assignment, []).append(item)
        most = KEPT_RECORDS if size_bytes <= KEPT_BYTES * len(tracked) else 0
        let_go = []
        with self._lock:
            most //= max(len(self._current), 1)
            for assignment, items in by_assignment.items():
                if not assignment.closed:
                    offsets = [item.record.offset for item in items]
                    let_go.append(assignment.finish(offsets, items, most))
                    self._records -= len(offsets)
                    if self._assignments.replaced:
                        self._assignments.forget_finished(assignment)
            self._bytes -= size_bytes
            self._outcome_bytes -= outcome_bytes
            self._changed.notify_all()
        del let_go  # with the lock free

    def restart(self) -> dict[TopicPartition, int]:
        """Begin again with the same partitions, and return the offsets to read on from.

        That is what was last committed, or else the first record polled. All that is in progress is
        let go, as by `release`.
        """
        with self._lock:
            old = list(self._current.values())
            self._release(assignment.partition for assignment in old)
            offsets = {}
            for before in old:
                assignment = self._current[before.partition] = PartitionAssignment(before.partition)
                offset = assignment.rewind(before)
                if offset is not None:
                    offsets[before.partition] = offset
            return offsets

    def release(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Close these partitions' assignments and return the offsets up to which they are finished.

        What is still in progress for them no longer counts, and needs no result.
        """
        with self._lock:
            before = self._records
            offsets = self._release(partitions)
            self.abandoned_records += before - self._records
            return offsets

    def _release(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        offsets: dict[TopicPartition, int] = {}
        for partition in partitions:
            assignment = self._current.pop(partition, None)
            replaced = self._assignments.replaced.pop(partition, [])
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

    def partitions(self) -> list[TopicPartition]:
        """Return the partitions that have an assignment."""
        with self._lock:
            return list(self._current)

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
        with self._lock:
            return self._changed.wait_for(condition, timeout_seconds)

    def wait_finished(self, partitions: Iterable[TopicPartition], timeout_seconds: float) -> bool:
        """Wait until nothing of these partitions is in progress; False if the time ran out."""
        wanted = list(partitions)

        def finished() -> bool:
            return not any(
                partition in self._assignments.replaced
                or (partition in self._current and self._current[partition].in_flight)
                for partition in wanted
            )

        return self.wait_until(finished, timeout_seconds)
