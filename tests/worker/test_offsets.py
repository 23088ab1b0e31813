from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.support.records import a_kafka_record
from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.offsets import OffsetLedger, Slot
from topicserve.worker.request import Polled

PARTITION = TopicPartition("in", 0)


def track(ledger: OffsetLedger, offsets: list[int], partition: int = 0) -> list[Polled]:
    """Take records in as the polling thread does."""
    records = [a_kafka_record(offset, partition=partition) for offset in offsets]
    polled = [
        Polled(record, slot, 10, 0.0)
        for record, slot in zip(records, ledger.track(records), strict=True)
        if slot is not None
    ]
    ledger.count_bytes(10 * len(polled))
    return polled


@given(st.data())
def test_the_next_offset_is_the_end_of_the_unbroken_finished_run(data: st.DataObject) -> None:
    """Whatever order records finish in, and whatever offsets a topic left out."""
    offsets = sorted(data.draw(st.sets(st.integers(0, 50), min_size=1)))
    order = data.draw(st.permutations(offsets))
    slot = Slot(PARTITION)
    slot.track(offsets)

    for count, offset in enumerate(order, start=1):
        slot.finish([offset])

        unfinished = [other for other in offsets if other not in order[:count]]
        before_the_gap = [o for o in offsets if not unfinished or o < unfinished[0]]
        assert slot.next_offset == (before_the_gap[-1] + 1 if before_the_gap else None)


def test_nothing_is_committable_twice() -> None:
    """What was said to be committed is offered again only once it moved on."""
    ledger = OffsetLedger()
    ledger.assign([PARTITION])
    first, second = track(ledger, [5, 6])
    ledger.finish([first])

    assert ledger.committable() == {PARTITION: 6}
    ledger.committed({PARTITION: 6})
    assert ledger.committable() == {}
    ledger.finish([second])
    assert ledger.committable() == {PARTITION: 7}


def test_an_old_assignments_records_touch_nothing() -> None:
    """A result that comes in after its partition went and came back is of no account."""
    ledger = OffsetLedger()
    ledger.assign([PARTITION])
    old = track(ledger, [5, 6])
    assert ledger.release([PARTITION]) == {}
    ledger.assign([PARTITION])
    track(ledger, [5])

    ledger.finish(old)

    assert ledger.committable() == {}
    assert (ledger.in_flight_records, ledger.in_flight_bytes) == (1, 10)


def test_records_of_partitions_not_ours_get_no_slot() -> None:
    """They were polled just as the partition was taken away."""
    ledger = OffsetLedger()
    ledger.assign([PARTITION])

    slots = ledger.track([a_kafka_record(1), a_kafka_record(2, partition=7)])

    assert [slot is not None for slot in slots] == [True, False]
    assert ledger.in_flight_records == 1


def test_restart_reads_on_from_what_was_committed() -> None:
    """Or from the first record polled, where nothing was; everything under way is let go."""
    ledger = OffsetLedger()
    other = TopicPartition("in", 1)
    ledger.assign([PARTITION, other])
    done, *_ = track(ledger, [5, 6, 7])
    track(ledger, [3, 4], partition=1)
    ledger.finish([done])
    ledger.committed({PARTITION: 6})

    assert ledger.restart() == {PARTITION: 6, other: 3}
    assert ledger.in_flight_records == 0
    assert ledger.restart() == {PARTITION: 6}  # nothing was polled since


class LedgerMachine(RuleBasedStateMachine):
    """Polls, finishes in any order, commits, loses partitions and crashes, at any step."""

    @initialize()
    def begin(self) -> None:
        self.ledger = OffsetLedger()
        self.ledger.assign([PARTITION])
        self.next_poll = 0
        self.under_way: list[Polled] = []
        self.published: set[int] = set()
        self.committed = 0

    @rule(count=st.integers(1, 5), skipped=st.integers(0, 2))
    def poll(self, count: int, skipped: int) -> None:
        start = self.next_poll + skipped  # transaction markers and compaction leave holes
        self.published.update(range(self.next_poll, start))
        self.under_way += track(self.ledger, list(range(start, start + count)))
        self.next_poll = start + count

    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        if self.under_way:
            index = data.draw(st.integers(0, len(self.under_way) - 1))
            polled = self.under_way.pop(index)
            self.ledger.finish([polled])
            if not polled.slot.closed:
                self.published.add(polled.record.offset)

    @rule()
    def commit(self) -> None:
        offsets = self.ledger.committable()
        self.committed = offsets.get(PARTITION, self.committed)
        self.ledger.committed(offsets)

    @rule()
    def revoke(self) -> None:
        self.committed = self.ledger.release([PARTITION]).get(PARTITION, self.committed)
        self.read_again()

    @rule()
    def lose(self) -> None:
        self.ledger.release([PARTITION])
        self.read_again()

    def read_again(self) -> None:
        self.ledger.assign([PARTITION])
        self.next_poll = self.committed

    @invariant()
    def nothing_unpublished_is_committed(self) -> None:
        if hasattr(self, "ledger"):
            assert set(range(self.committed)) <= self.published

    @invariant()
    def counts_agree(self) -> None:
        if hasattr(self, "ledger"):
            live = [polled for polled in self.under_way if not polled.slot.closed]
            assert self.ledger.in_flight_records == len(live)
            assert self.ledger.in_flight_bytes == 10 * len(self.under_way)


TestLedgerMachine = LedgerMachine.TestCase
