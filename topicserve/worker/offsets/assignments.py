"""All assignments of a worker, and the lock that guards them.

The tracker, its commits and its reading are views of these; none of them keeps an offset of its
own.
"""

import logging
import threading
from collections import deque

from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.offsets.assignment import MAX_GAPS, Gap, PartitionAssignment
from topicserve.worker.telemetry.logging import log_event


class Assignments:
    """What OffsetTracker, Commits and Reading share.

    `lock` guards every member and every assignment in it; `changed`, a condition on it, is notified
    when a record is finished or committed, or a partition released. Members are called with the
    lock held, and do not block. The lock itself is taken in C, the condition by two Python calls.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.current: dict[TopicPartition, PartitionAssignment] = {}
        self.replaced: dict[TopicPartition, list[PartitionAssignment]] = {}
        """Assignments whose offsets went back, until their records are finished."""
        self.started: dict[TopicPartition, bool] = {}
        """Partitions whose first records came; True where their offsets went back."""
        self.gaps: deque[Gap] = deque(maxlen=MAX_GAPS)

    def note_gap(self, gap: Gap | None) -> None:
        """Keep a gap, if it is one, until it is asked for."""
        if gap is not None:
            self.gaps.append(gap)

    def replace(self, assignment: PartitionAssignment, offset: int) -> PartitionAssignment:
        """Return a new assignment in the place of one whose offsets have gone back.

        They do so where a topic was deleted and created again, or its end was lost, and the client
        goes on without a new assignment. What is known of the old offsets is about other records:
        none of it is committed any more. The records themselves are answered all the same, and
        nothing else is committed before.
        """
        partition = assignment.partition
        log_event(
            "offsets_went_back",
            logging.WARNING,
            topic=partition.topic,
            partition=partition.partition,
            from_offset=assignment.position,
            to_offset=offset,
        )
        if assignment.in_flight:
            self.replaced.setdefault(partition, []).append(assignment)
        else:
            assignment.closed = True
        self.started[partition] = True
        self._doubt_others(assignment)
        new = self.current[partition] = PartitionAssignment(partition)
        return new

    def mark_replaced(self, assignment: PartitionAssignment, position: int) -> None:
        """Commit nothing but this position for a partition, until a record of its new log comes."""
        self._doubt_others(assignment)
        assignment.new_log_position = position

    def _doubt_others(self, assignment: PartitionAssignment) -> None:
        """Commit no note alone for the topic's partitions, each until a record of it comes.

        A topic that was created again has new logs in all of its partitions. A note that is
        committed beside an old offset would have the new log read from there. Offsets of records
        that were answered are committed all the same: it may be this one partition alone whose
        offsets went back, by an odd batch or a lost end, and the others' results are published.
        """
        # Where it is marked or doubted itself, it is not the first one.
        if assignment.new_log_position is None and not assignment.log_doubted:
            for other in self.current.values():
                if other.partition.topic == assignment.partition.topic:
                    other.log_doubted = True

    def forget_finished(self, assignment: PartitionAssignment) -> None:
        """Drop an assignment whose offsets went back, once all of its records are finished."""
        replaced = self.replaced.get(assignment.partition)
        if replaced is None or assignment.in_flight or assignment not in replaced:
            return
        assignment.closed = True
        replaced.remove(assignment)
        if not replaced:
            del self.replaced[assignment.partition]
