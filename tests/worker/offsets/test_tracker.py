import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.support.stages.records import a_kafka_record
from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.offsets.assignment import MAX_GAPS, PartitionAssignment
from topicserve.worker.offsets.tracker import KEPT_BYTES, KEPT_RECORDS, OffsetTracker
from topicserve.worker.stages.request import Polled

PARTITION = TopicPartition("in", 0)


def track(tracker: OffsetTracker, offsets: list[int], partition: int = 0) -> list[Polled]:
    """Take records in as the polling thread does."""
    records = [a_kafka_record(offset, partition=partition) for offset in offsets]
    polled = [
        Polled(record, assignment, 10, 0.0)
        for record, assignment in zip(records, tracker.track(records), strict=True)
        if assignment is not None
    ]
    tracker.count_bytes(10 * len(polled))
    return polled


@given(st.data())
def test_the_next_offset_is_the_end_of_the_unbroken_finished_run(data: st.DataObject) -> None:
    """Whatever order records finish in, and whatever offsets a topic left out."""
    offsets = sorted(data.draw(st.sets(st.integers(0, 50), min_size=1)))
    order = data.draw(st.permutations(offsets))
    assignment = PartitionAssignment(PARTITION)
    assignment.track(offsets, [a_kafka_record(offset) for offset in offsets])

    for count, offset in enumerate(order, start=1):
        assignment.finish([offset])

        unfinished = [other for other in offsets if other not in order[:count]]
        before_the_gap = [o for o in offsets if not unfinished or o < unfinished[0]]
        assert assignment.next_offset == (before_the_gap[-1] + 1 if before_the_gap else None)


class Item:
    """A tracked record that notes when it is let go."""

    def __init__(self, polled: Polled, size_bytes: int, let_go: list[int]) -> None:
        self.record, self.assignment = polled.record, polled.assignment
        self.size_bytes = size_bytes
        self._let_go = let_go

    def __del__(self) -> None:
        self._let_go.append(self.record.offset)


def finish_in_turns(offsets: int, size_bytes: int = 10) -> list[list[int]]:
    """Finish every other record and then the rest; return what was let go after each."""
    tracker = OffsetTracker()
    tracker.assign([PARTITION])
    let_go: list[int] = []
    polled = track(tracker, list(range(offsets)))
    seen = []
    for start in (1, 0):
        tracker.finish([Item(one, size_bytes, let_go) for one in polled[start::2]])
        seen.append(list(let_go))
    return seen


def test_records_are_let_go_in_the_order_of_their_offsets() -> None:
    """Also where they are finished in another one; those of the last call when it returns."""
    first, then = finish_in_turns(8)

    assert first == []
    assert sorted(then) == list(range(8))
    kept = [offset for offset in then if offset % 2]
    assert kept in ([1, 3, 5, 7], [7, 5, 3, 1])  # CPython lets go of a list from its end


def test_few_records_are_kept_and_small_ones_alone() -> None:
    """A record that stays in progress must not hold on to all that come after it."""
    assert sorted(finish_in_turns(8, size_bytes=KEPT_BYTES + 1)[0]) == [1, 3, 5, 7]
    assert len(finish_in_turns(2 * KEPT_RECORDS)[0]) == 0
    assert len(finish_in_turns(2 * KEPT_RECORDS + 2)[0]) == KEPT_RECORDS + 1


def test_nothing_is_committable_twice() -> None:
    """What was said to be committed is offered again only once it moved on."""
    tracker = OffsetTracker()
    tracker.assign([PARTITION])
    first, second = track(tracker, [5, 6])
    tracker.finish([first])

    assert tracker.commits.committable() == {PARTITION: 6}
    tracker.commits.committed({PARTITION: 6})
    assert tracker.commits.committable() == {}
    tracker.finish([second])
    assert tracker.commits.committable() == {PARTITION: 7}


def test_an_old_assignments_records_touch_nothing() -> None:
    """A result that comes in after its partition went and came back is of no account."""
    tracker = OffsetTracker()
    tracker.assign([PARTITION])
    old = track(tracker, [5, 6])
    assert tracker.release([PARTITION]) == {}
    tracker.assign([PARTITION])
    track(tracker, [5])

    tracker.finish(old)

    assert tracker.commits.committable() == {}
    assert (tracker.in_flight_records, tracker.in_flight_bytes) == (1, 10)


def test_records_of_partitions_not_ours_get_no_slot() -> None:
    """They were polled just as the partition was taken away."""
    tracker = OffsetTracker()
    tracker.assign([PARTITION])

    assignments = tracker.track([a_kafka_record(1), a_kafka_record(2, partition=7)])

    assert [assignment is not None for assignment in assignments] == [True, False]
    assert tracker.in_flight_records == 1


def test_restart_reads_on_from_what_was_committed() -> None:
    """Or from the first record polled, where nothing was; everything in progress is let go."""
    tracker = OffsetTracker()
    other = TopicPartition("in", 1)
    tracker.assign([PARTITION, other])
    done, *_ = track(tracker, [5, 6, 7])
    track(tracker, [3, 4], partition=1)
    tracker.finish([done])
    tracker.commits.committed({PARTITION: 6})

    assert tracker.restart() == {PARTITION: 6, other: 3}
    assert tracker.in_flight_records == 0
    assert tracker.restart() == {PARTITION: 6}  # nothing was polled since


def test_the_position_behind_a_marker_is_committed_once_all_is_finished() -> None:
    """Other tools would see a lag that never goes; a record that is not finished holds it."""
    tracker = OffsetTracker()
    tracker.assign([PARTITION])
    first, second = track(tracker, [5, 6])
    tracker.reading.pass_to({PARTITION: 9})

    tracker.finish([first])
    assert tracker.commits.committable() == {PARTITION: 6}
    tracker.finish([second])
    assert tracker.commits.committable() == {PARTITION: 9}
    tracker.commits.committed({PARTITION: 9})
    assert tracker.commits.committable() == {}


def test_a_position_alone_is_committed_only_behind_where_the_group_stood() -> None:
    """A new owner commits nothing that is committed already, and passes markers all the same."""
    tracker = OffsetTracker()
    tracker.assign([PARTITION])
    tracker.reading.pass_to({PARTITION: 7})
    assert tracker.commits.committable() == {}
    assert tracker.reading.without_start() == [PARTITION]

    tracker.reading.start_at({PARTITION: 7})
    assert tracker.commits.committable() == {}
    assert tracker.reading.without_start() == []
    tracker.reading.pass_to({PARTITION: 8})

    assert tracker.commits.committable() == {PARTITION: 8}
    assert tracker.release([PARTITION]) == {PARTITION: 8}


@pytest.mark.parametrize("start_first", [True, False])
def test_gaps_are_found_from_the_groups_offset_on(start_first: bool) -> None:
    """Each once: before the first record, between polls, and where reading passed no record."""
    tracker = OffsetTracker()
    tracker.assign([PARTITION])
    if start_first:
        tracker.reading.start_at({PARTITION: 100})
    track(tracker, [500, 501])
    tracker.reading.start_at({PARTITION: 100})
    track(tracker, [502])
    tracker.reading.pass_to({PARTITION: 503})
    track(tracker, [700])
    tracker.reading.pass_to({PARTITION: 800})
    track(tracker, [800])

    found = [(gap.start, gap.stop) for gap in tracker.reading.take_gaps()]

    assert found == [(100, 500), (503, 700), (701, 800)]
    assert tracker.reading.take_gaps() == []


def test_gaps_that_are_not_taken_are_bounded() -> None:
    """A compacted topic has one at each poll."""
    tracker = OffsetTracker()
    tracker.assign([PARTITION])

    for offset in range(0, 3 * MAX_GAPS, 2):
        track(tracker, [offset])

    assert len(tracker.reading.take_gaps()) == MAX_GAPS


def test_the_oldest_unfinished_record_has_the_timestamp_of_its_poll() -> None:
    """Of every poll one record is asked at least."""
    tracker = OffsetTracker()
    tracker.assign([PARTITION])
    polled = [
        Polled(record, assignment, 10, 0.0)
        for stamp in (1000, 2000)
        for record in [a_kafka_record(stamp, timestamp_ms=stamp)]
        for assignment in tracker.track([record])
        if assignment is not None
    ]

    assert tracker.reading.oldest_timestamp_ms(PARTITION) == 1000
    tracker.finish(polled[:1])
    assert tracker.reading.oldest_timestamp_ms(PARTITION) == 2000
    tracker.finish(polled[1:])
    assert tracker.reading.oldest_timestamp_ms(PARTITION) is None


def test_what_is_committed_behind_a_marker_is_not_taken_back() -> None:
    """By the next record that is in flight."""
    tracker = OffsetTracker()
    tracker.assign([PARTITION])
    tracker.finish(track(tracker, [5]))
    tracker.reading.pass_to({PARTITION: 9})
    tracker.commits.committed(tracker.commits.committable())

    track(tracker, [9, 10])

    assert tracker.commits.committable() == {}
    assert tracker.release([PARTITION]) == {}


class LedgerMachine(RuleBasedStateMachine):
    """Polls, finishes in any order, commits, loses partitions and crashes, at any step."""

    @initialize()
    def begin(self) -> None:
        self.tracker = OffsetTracker()
        self.tracker.assign([PARTITION])
        self.next_poll = 0
        self.under_way: list[Polled] = []
        self.published: set[int] = set()
        self.committed = self.assigned_at = 0

    @rule(count=st.integers(1, 5), skipped=st.integers(0, 2))
    def poll(self, count: int, skipped: int) -> None:
        start = self.next_poll + skipped  # transaction markers and compaction leave holes
        self.published.update(range(self.next_poll, start))
        self.under_way += track(self.tracker, list(range(start, start + count)))
        self.next_poll = start + count

    @rule(count=st.integers(0, 3))
    def pass_markers(self, count: int) -> None:
        self.published.update(range(self.next_poll, self.next_poll + count))
        self.next_poll += count
        self.tracker.reading.pass_to({PARTITION: self.next_poll})

    @rule(is_late=st.booleans())
    def hear_of_the_start(self, is_late: bool) -> None:
        self.tracker.reading.start_at({PARTITION: self.committed if is_late else self.assigned_at})

    @rule()
    def rewind(self) -> None:
        before = self.next_poll
        self.next_poll = self.tracker.restart().get(PARTITION, before)
        if self.next_poll < before:
            # What the consumer knew before the seek is no longer true.
            self.tracker.reading.pass_to({PARTITION: before})

    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        if self.under_way:
            index = data.draw(st.integers(0, len(self.under_way) - 1))
            polled = self.under_way.pop(index)
            self.tracker.finish([polled])
            if not polled.assignment.closed:
                self.published.add(polled.record.offset)

    @rule()
    def commit(self) -> None:
        offsets = self.tracker.commits.committable()
        assert offsets.get(PARTITION, self.committed) >= self.committed
        self.committed = offsets.get(PARTITION, self.committed)
        self.tracker.commits.committed(offsets)

    @rule()
    def revoke(self) -> None:
        self.committed = self.tracker.release([PARTITION]).get(PARTITION, self.committed)
        self.read_again()

    @rule()
    def lose(self) -> None:
        self.tracker.release([PARTITION])
        self.read_again()

    def read_again(self) -> None:
        self.tracker.assign([PARTITION])
        self.next_poll = self.assigned_at = self.committed

    @invariant()
    def everything_passed_is_committed_once_all_is_finished(self) -> None:
        if hasattr(self, "tracker") and not self.tracker.in_flight_records:
            known = not self.tracker.reading.without_start()
            position = self.tracker.reading.positions().get(PARTITION)
            if known and position is not None and position > self.committed:
                assert self.tracker.commits.committable() == {PARTITION: position}

    @invariant()
    def nothing_unpublished_is_committed(self) -> None:
        if hasattr(self, "tracker"):
            assert set(range(self.committed)) <= self.published

    @invariant()
    def counts_agree(self) -> None:
        if hasattr(self, "tracker"):
            live = [polled for polled in self.under_way if not polled.assignment.closed]
            assert self.tracker.in_flight_records == len(live)
            assert self.tracker.in_flight_bytes == 10 * len(self.under_way)


TestLedgerMachine = LedgerMachine.TestCase


def test_what_was_known_before_the_first_of_two_rewinds_is_no_position() -> None:
    """Nothing was read in between; the consumer may still name the offset from before."""
    tracker = OffsetTracker()
    tracker.assign([PARTITION])
    tracker.reading.start_at({PARTITION: 10})
    track(tracker, [10, 11])

    assert tracker.restart() == {PARTITION: 10}
    tracker.restart()
    tracker.reading.pass_to({PARTITION: 12})

    assert tracker.commits.committable() == {}


def test_offsets_that_go_back_are_another_topics(caplog: pytest.LogCaptureFixture) -> None:
    """A topic was created again: nothing that is known of the old one is committed for the new."""
    tracker = OffsetTracker()
    tracker.assign([PARTITION])
    finished, unfinished = track(tracker, [100, 101])
    tracker.finish([finished])
    tracker.commits.committed(tracker.commits.committable())

    with caplog.at_level(logging.WARNING, "topicserve"):
        first, second = track(tracker, [0, 1])
    tracker.finish([first])
    assert tracker.commits.committable() == {}, "the old record has no answer yet"
    assert not tracker.wait_finished([PARTITION], 0)
    tracker.finish([unfinished])

    assert tracker.commits.committable() == {PARTITION: 1}
    assert tracker.in_flight_records == 1
    assert (unfinished.assignment.closed, second.assignment.closed) == (True, False)
    assert tracker.abandoned_records == 0
    assert tracker.take_started() == {PARTITION: True}
    assert not tracker.has_started_partitions
    (line,) = caplog.records
    assert line.msg == "offsets_went_back"
    fields = line.__dict__["fields"]
    assert (fields["topic"], fields["partition"]) == PARTITION
    assert (fields["from_offset"], fields["to_offset"]) == (102, 0)


@pytest.mark.parametrize("let_go", ["release", "restart"])
def test_old_records_go_with_their_partition(let_go: str) -> None:
    """Those of a log that is gone are no longer counted, and nothing of them is committed."""
    tracker = OffsetTracker()
    tracker.assign([PARTITION])
    old = track(tracker, [100, 101])
    new = track(tracker, [0])
    tracker.finish(new)

    if let_go == "release":
        assert tracker.release([PARTITION]) == {}
    else:
        assert tracker.restart() == {PARTITION: 0}

    assert tracker.in_flight_records == 0
    assert all(polled.assignment.closed for polled in old)


def test_a_cut_of_one_log_is_not_committed_for_another() -> None:
    """Where the log was replaced while a transaction was being written."""
    tracker = OffsetTracker()
    tracker.assign([PARTITION])
    tracker.finish(track(tracker, [100, 101]))
    cut = tracker.commits.cut()
    assert tracker.commits.with_notes(cut) == {PARTITION: 102}

    tracker.finish(track(tracker, [0]))
    tracker.commits.committed({PARTITION: 102}, cut)

    assert tracker.commits.with_notes(cut) == {}
    assert tracker.commits.committable() == {PARTITION: 1}


def test_a_cut_says_nothing_again_that_is_committed() -> None:
    """Said again, it could reach a log that took the place of the one that it is about."""
    tracker = OffsetTracker()
    other = TopicPartition("in", 1)
    tracker.assign([PARTITION, other])
    tracker.finish(track(tracker, [100]))
    tracker.commits.committed(tracker.commits.committable())
    (polled,) = track(tracker, [7], partition=1)

    assert tracker.commits.cut() == {polled.assignment: 8}


@given(
    logs=st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=8), min_size=1, max_size=4),
    data=st.data(),
)
def test_whatever_order_offsets_come_in_all_is_answered_before_any_is_committed(
    logs: list[list[int]], data: st.DataObject
) -> None:
    """Producers can write offsets that do not rise, and repeat; no partition gets stuck."""
    tracker = OffsetTracker()
    tracker.assign([PARTITION])
    polled = [one for offsets in logs for one in track(tracker, offsets)]
    order = data.draw(st.permutations(polled))
    for one in order[:-1]:
        tracker.finish([one])
        assert tracker.in_flight_records >= 1
        for end in tracker.commits.committable().values():
            assert order[-1].record.offset >= end
    tracker.finish(order[-1:])

    assert tracker.in_flight_records == 0
    assert tracker.commits.committable() == {PARTITION: logs[-1][-1] + 1}
    assert tracker.in_flight_bytes == 0


def all_that_would_be_committed(tracker: OffsetTracker) -> dict[TopicPartition, int]:
    """Return what any way of committing says, each of which must leave out the same."""
    return {
        **tracker.commits.committable(),
        **tracker.commits.committable_notes(),
        **tracker.commits.with_notes(tracker.commits.cut()),
    }


def test_no_note_brings_an_old_offset_to_a_topic_that_was_created_again() -> None:
    """A partition of which no record came since keeps quiet, until one comes."""
    other, elsewhere = TopicPartition("in", 1), TopicPartition("elsewhere", 0)
    tracker = OffsetTracker()
    tracker.assign([PARTITION, other, elsewhere])
    tracker.finish([*track(tracker, [17]), *track(tracker, [30], partition=1)])
    tracker.track([a_kafka_record(5, topic="elsewhere")])
    tracker.commits.committed(tracker.commits.committable())

    track(tracker, [0], partition=1)
    for partition in (PARTITION, other, elsewhere):
        tracker.commits.note(partition, "given up in order")

    assert PARTITION not in all_that_would_be_committed(tracker)
    assert elsewhere in all_that_would_be_committed(tracker)
    tracker.finish(track(tracker, [0]))
    assert all_that_would_be_committed(tracker)[PARTITION] == 1
    assert tracker.release([PARTITION, other]) == {PARTITION: 1, other: 0}


@pytest.mark.parametrize("in_flight", [False, True])
def test_where_a_new_log_is_read_is_committed_in_the_place_of_the_old_logs_offset(
    in_flight: bool,
) -> None:
    """An old offset may have reached the new topic before the consumer knew of that."""
    other = TopicPartition("in", 1)
    tracker = OffsetTracker()
    tracker.assign([PARTITION, other])
    tracker.finish([*track(tracker, [17]), *track(tracker, [30], partition=1)])
    tracker.commits.committed(tracker.commits.committable())
    old = track(tracker, [18]) if in_flight else []

    tracker.reading.pass_to({PARTITION: 0, other: 31})
    tracker.finish(old)
    tracker.commits.note(PARTITION, "given up in order")

    assert all_that_would_be_committed(tracker) == {PARTITION: 0}
    tracker.commits.committed(tracker.commits.committable())
    tracker.reading.pass_to({PARTITION: 0, other: 31})
    assert all_that_would_be_committed(tracker) == {}
    tracker.finish(track(tracker, [0]))
    assert all_that_would_be_committed(tracker) == {PARTITION: 1}


def test_a_position_before_what_is_read_again_is_no_other_log() -> None:
    """After a transaction is aborted the consumer goes back because it was told to."""
    tracker = OffsetTracker()
    tracker.assign([PARTITION])
    track(tracker, [10, 11])
    tracker.restart()

    tracker.reading.pass_to({PARTITION: 10})
    tracker.finish(track(tracker, [10, 11]))

    assert tracker.commits.committable() == {PARTITION: 12}


@pytest.mark.parametrize("finished", ["before", "after"])
def test_what_was_answered_is_committed_whatever_offsets_another_partition_has(
    finished: str,
) -> None:
    """One odd batch, whose offsets go back, keeps no other partition's results uncommitted."""
    other = TopicPartition("in", 1)
    tracker = OffsetTracker()
    tracker.assign([PARTITION, other])
    track(tracker, [5], partition=1)
    records = track(tracker, [0, 1, 2])
    if finished == "before":
        tracker.finish(records)

    track(tracker, [5], partition=1)
    tracker.finish(records)

    assert all_that_would_be_committed(tracker)[PARTITION] == 3
    assert tracker.commits.committable()[PARTITION] == 3
    tracker.commits.committed(tracker.commits.committable())
    assert PARTITION not in all_that_would_be_committed(tracker)
