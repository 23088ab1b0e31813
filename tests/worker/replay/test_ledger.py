from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from tests.support.stages.records import PARTITION, a_kafka_record
from topicserve.backends.broker import OffsetAndMetadata
from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.replay.ledger import Ledger
from topicserve.worker.replay.progress_note import OffsetRange, ProgressNote, Tally, split

NOTE = ProgressNote("job", OffsetRange(0, 100), Tally())


def a_ledger(*offsets: int) -> Ledger:
    """Return a ledger of one partition in which these offsets were read."""
    ledger = Ledger()
    ledger.open(PARTITION, NOTE, 0)
    ledger.read([a_kafka_record(offset) for offset in offsets])
    return ledger


def tally_at(ledger: Ledger, offset: int) -> Tally:
    """Return the tally that is committed beside an offset."""
    note, _ = split(ledger.noted({PARTITION: offset})[PARTITION])
    return note.tally


def test_what_is_below_the_committed_offset_is_counted() -> None:
    """Records behind it, answered or not, are the next commit's."""
    ledger = a_ledger(0, 1, 2, 3)
    ledger.settle([(PARTITION, 0, "result"), (PARTITION, 1, "timed_out"), (PARTITION, 3, "result")])

    assert tally_at(ledger, 2) == Tally(2, {"result": 1, "timed_out": 1})  # type: ignore[arg-type]


def test_a_record_without_an_outcome_shows() -> None:
    """It was read, and is no part of any outcome: the account does not add up."""
    ledger = a_ledger(0, 1)
    ledger.settle([(PARTITION, 1, "result")])

    tally = tally_at(ledger, 2)

    assert (tally.read, tally.outcomes.total()) == (2, 1)


def test_a_partition_that_went_is_not_committed() -> None:
    """Its next owner counts from what was committed before."""
    ledger = a_ledger(0)
    ledger.drop([PARTITION])
    ledger.settle([(PARTITION, 0, "result")])

    assert ledger.noted({PARTITION: 1}) == {}


def test_the_workers_note_stays_beside_the_offset() -> None:
    """The quarantine finds it again."""
    ledger = a_ledger()

    noted = ledger.noted({PARTITION: OffsetAndMetadata(0, "topicserve1 working=ab")})

    _, left = split(noted[PARTITION])
    assert left.metadata == "topicserve1 working=ab"


STEPS = st.lists(st.sampled_from(["commit", "refused", "again", "killed"]), max_size=8)


@given(STEPS, st.lists(st.integers(0, 40), max_size=8))
def test_every_record_counts_once_whatever_is_read_again(
    steps: Sequence[str], cuts: Sequence[int]
) -> None:
    """Commits that are refused, records read again and owners that die change no total."""
    offsets = list(range(0, 40, 2))
    ledger = a_ledger(*offsets)
    stored = OffsetAndMetadata(0, "")
    for step, cut in zip(steps, cuts, strict=False):
        ledger.settle([(PARTITION, offset, "result") for offset in offsets if offset < cut])
        offset = max(cut, int(stored))
        noted = ledger.noted({PARTITION: offset})
        if step == "commit":
            stored = noted[PARTITION]
            ledger.committed(noted)
        elif step == "again":
            ledger.read([a_kafka_record(offset) for offset in offsets if offset >= int(stored)])
        elif step == "killed":
            ledger = Ledger()
            note = split(stored)[0] if stored.metadata else NOTE
            ledger.open(PARTITION, note, int(stored))
            ledger.read([a_kafka_record(offset) for offset in offsets if offset >= int(stored)])

    ledger.settle([(PARTITION, offset, "result") for offset in offsets])

    assert tally_at(ledger, 40) == Tally(20, {"result": 20})  # type: ignore[arg-type]


def test_partitions_have_accounts_of_their_own() -> None:
    """The same offset of another partition is another record."""
    other = TopicPartition("in", 1)
    ledger = a_ledger(0)
    ledger.open(other, NOTE, 0)
    ledger.settle([(other, 0, "result")])

    assert tally_at(ledger, 1).outcomes.total() == 0
