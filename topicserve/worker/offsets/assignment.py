"""One assignment of one partition: which of its records are in progress, and what to commit."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from topicserve.backends.broker import OffsetAndMetadata
from topicserve.wire.kafka_record import KafkaRecord, TopicPartition

MAX_GAPS = 1000
_MARK_MS = 1000


class Gap(NamedTuple):
    """Offsets that reading jumped over: a marker, compaction, or records that were deleted."""

    partition: TopicPartition
    start: int
    stop: int


class PartitionAssignment:
    """One assignment of one partition. Each time a partition is assigned there is a new one.

    What an old assignment's records still report is counted there and touches nothing else: the
    records of a closed assignment need no result. The tracker's lock guards all of it but `closed`,
    which only ever goes from False to True, `cut` (the batcher's lock) and `settled`
    (PublishOrder's).
    """

    __slots__ = (
        "_entered",
        "_finished",
        "_passed",
        "_pending",
        "_timestamps",
        "closed",
        "committed",
        "committed_note",
        "cut",
        "first_offset",
        "last_timestamp_ms",
        "log_doubted",
        "new_log_position",
        "next_offset",
        "note",
        "partition",
        "rewound",
        "settled",
        "start_offset",
    )

    def __init__(self, partition: TopicPartition) -> None:
        self.partition = partition
        self.closed = False
        self.first_offset: int | None = None
        self.next_offset: int | None = None
        self.committed: int | None = None
        self.note = ""
        """What is committed beside the next offset (see quarantine/note.py)."""
        self.committed_note = ""
        self.new_log_position: int | None = None
        """Where the consumer reads another log by now: nothing else is committed to that."""
        self.log_doubted = False
        """Whether another partition of the topic has a new log: no note alone is committed."""
        self.cut = 0
        """How many batches with records of this assignment were cut."""
        self.settled = 0
        """How many of them were published or requeued."""
        self.start_offset: int | None = None
        """Where the group stood when the partition was assigned, once that is known."""
        self.last_timestamp_ms = -1
        """The timestamp of the last record polled; -1 where there is none."""
        self._pending: deque[int] = deque()
        self._finished: dict[int, object] = {}
        # Offsets and timestamps of some pending records, the oldest first: about one a second.
        self._timestamps: deque[tuple[int, int]] = deque()
        self._passed: int | None = None
        self._entered: int | None = None  # the first offset that reading came to
        self.rewound = False
        """Whether nothing was read since offsets were rewound."""

    def track(self, offsets: Sequence[int], records: Sequence[KafkaRecord]) -> Gap | None:
        """Take note of records that were polled, in offset order; return the gap before them."""
        gap = self._come_to(offsets[0])
        if self.first_offset is None:
            self.first_offset = offsets[0]
        self.rewound = self.log_doubted = False
        self.new_log_position = None
        self._pending.extend(offsets)
        self.last_timestamp_ms = records[-1].timestamp_ms
        first_ms = records[0].timestamp_ms
        span_ms = self.last_timestamp_ms - first_ms
        if span_ms <= _MARK_MS:
            self._timestamps.append((offsets[0], first_ms))
        else:  # one poll of a backlog may bring the records of hours
            some = records[:: max(len(records) * _MARK_MS // span_ms, 1)]
            self._timestamps.extend([(record.offset, record.timestamp_ms) for record in some])
        return gap

    def pass_to(self, offset: int) -> Gap | None:
        """Note that every readable record below this offset was polled; return the gap.

        The offset may lie behind markers and aborted records, which are never polled.
        """
        # What is read again comes first: until then an offset behind it would be an old one.
        if self.rewound:
            return None
        gap = self._come_to(offset)
        if self._passed is None or offset > self._passed:
            self._passed = offset
        return gap

    def is_behind(self, offset: int) -> bool:
        """Tell whether the consumer reads on before what was read, and was not asked to."""
        return not self.rewound and self.position is not None and offset < self.position

    def start_at(self, offset: int) -> Gap | None:
        """Note where the group stood at the assignment; return the gap to what came first."""
        if self.start_offset is not None:
            return None
        entered = self._entered
        if self.committed is not None and (entered is None or offset >= entered):
            return None  # the answer came too late: this is where the group stands by now
        self.start_offset = offset
        if entered is None or entered <= offset:
            return None
        return Gap(self.partition, offset, entered)

    def rewind(self, before: "PartitionAssignment") -> int | None:
        """Take over what an earlier assignment committed; return where to read on, if known."""
        self.committed, self.start_offset = before.committed, before.start_offset
        self.note, self.committed_note = before.note, before.committed_note
        # Before anything is read again there may be another rewind.
        self.rewound = before.rewound or before.position is not None
        if before.new_log_position is not None:
            return None
        return before.first_offset if before.committed is None else before.committed

    def _come_to(self, offset: int) -> Gap | None:
        if self._entered is None:
            self._entered = offset
        expected = self.start_offset if self.position is None else self.position
        if expected is None or offset <= expected:
            return None
        return Gap(self.partition, expected, offset)

    def finish(
        self, offsets: Sequence[int], kept: Iterable[object] = (), most: int = 0
    ) -> list[object]:
        """Move `next_offset` to the end of the unbroken finished run.

        `kept` has what is kept of each record until all before it are finished, and is returned
        then, in the order of the offsets. It is not kept where there would be more than `most`.
        """
        # A gap is a record still in progress. Committing past it would lose that record if the
        # worker died now, so everything behind the gap must wait.
        finished, pending = self._finished, self._pending
        if len(finished) + len(offsets) > most:
            finished.update(dict.fromkeys(offsets))
        else:
            finished.update(zip(offsets, kept, strict=True))
        let_go = []
        while pending and pending[0] in finished:
            offset = pending.popleft()
            let_go.append(finished.pop(offset))
            self.next_offset = offset + 1
        marks = self._timestamps
        if not pending:
            marks.clear()
        while len(marks) > 1 and marks[1][0] <= pending[0]:
            marks.popleft()
        return let_go

    @property
    def to_commit(self) -> OffsetAndMetadata | None:
        """Return the next offset and the note, if either was not committed yet."""
        if self.new_log_position is not None:
            # An offset of the old log may have been committed before this was known.
            is_known = self.new_log_position == self.committed
            return None if is_known else OffsetAndMetadata(self.new_log_position, self.note)
        finished_to = self.finished_to
        has_moved = finished_to is not None and finished_to != self.committed
        if not has_moved and (self.log_doubted or self.note == self.committed_note):
            return None
        known = (finished_to, self.committed, self.first_offset)
        offset = next((one for one in known if one is not None), None)
        return None if offset is None else OffsetAndMetadata(offset, self.note)

    @property
    def noted_offset(self) -> int | None:
        """Return the offset beside which a note alone is committed; None where none is."""
        if self.new_log_position is not None:
            return self.new_log_position
        if self.log_doubted:
            return None
        return self.first_offset if self.committed is None else self.committed

    @property
    def position(self) -> int | None:
        """Return the offset that is read next, as far as it is known; no lock is needed."""
        try:
            polled: int | None = self._pending[-1] + 1
        except IndexError:
            polled = self.next_offset
        if polled is None or (self._passed is not None and self._passed > polled):
            return self._passed
        return polled

    @property
    def finished_to(self) -> int | None:
        """Return the offset to commit; None where nothing is known to be new.

        Where everything polled is finished it is the position: other tools would take the markers
        and aborted records before that for a lag that never goes.
        """
        known = [one for one in (self.next_offset, self.committed) if one is not None]
        done = max(known, default=None)  # what was committed may lie behind a marker
        base, position = self.start_offset if done is None else done, self.position
        if self._pending or base is None or position is None or position <= base:
            return done
        return position

    @property
    def oldest_offset(self) -> int | None:
        """Return the offset of the oldest record polled and not finished; no lock is needed."""
        try:
            return self._pending[0]
        except IndexError:
            return None

    @property
    def oldest_timestamp_ms(self) -> int | None:
        """Return about the timestamp of the oldest unfinished record; no lock is needed."""
        try:
            return self._timestamps[0][1]
        except IndexError:
            return None

    @property
    def unfinished(self) -> range:
        """Return the offsets from the oldest unfinished record to the position; without a lock."""
        position = self.position or 0
        oldest = self.oldest_offset
        return range(position if oldest is None else oldest, position)

    @property
    def in_flight(self) -> int:
        """Return how many records are polled and not finished."""
        return len(self._pending) - len(self._finished)


def known(offsets: Mapping[TopicPartition, int | None]) -> dict[TopicPartition, int]:
    """Return the offsets that are known."""
    return {partition: offset for partition, offset in offsets.items() if offset is not None}
