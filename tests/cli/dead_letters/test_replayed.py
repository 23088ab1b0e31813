import random
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topicserve.backends.broker import MAX_OFFSET_TEXT_BYTES, OffsetAndMetadata
from topicserve.cli.dead_letters.replayed import ReplayedOffsets
from topicserve.cli.errors import UsageError


@given(
    base=st.integers(0, 5),
    offsets=st.sets(st.integers(0, 60)),
    rounds=st.lists(st.sets(st.integers(0, 60)), max_size=4),
)
def test_it_knows_exactly_what_was_added(
    base: int, offsets: set[int], rounds: list[set[int]]
) -> None:
    """Whatever is left out and added later, and with gaps, through what Kafka keeps each time."""
    records = sorted(offset for offset in offsets if offset >= base)
    replayed, done = ReplayedOffsets(base), set[int]()
    for chosen in rounds:
        previous = replayed.base - 1
        for offset in [one for one in records if one >= replayed.base]:
            if offset in chosen or offset in done:
                replayed.add(offset, previous)
                done.add(offset)
            previous = offset
        committed = replayed.committed()
        replayed = ReplayedOffsets.of(OffsetAndMetadata(committed, committed.metadata), base)

        assert {offset for offset in records if offset in replayed} == done
        left = [offset for offset in records if offset not in done]
        assert replayed.base <= (left[0] if left else 61)
        assert all(offset in replayed for offset in records if offset < replayed.base)


def test_gaps_between_records_cost_no_text() -> None:
    """Transaction markers are between records; runs of replayed records are one range."""
    replayed = ReplayedOffsets(0)
    replayed.add(0, -1)
    for offset in range(4, 1000, 2):
        replayed.add(offset, offset - 2)

    assert replayed.committed() == 1
    assert replayed.committed().metadata == "replayed1 3+995"


def test_thousands_of_ranges_fit() -> None:
    """A filter may take every other dead letter at random."""
    chance = random.Random(7)
    replayed = ReplayedOffsets(0)
    for offset in range(1, 8000):
        if chance.random() < 0.5:
            replayed.add(offset, offset - 1)

    committed = replayed.committed()

    assert len(committed.metadata) <= MAX_OFFSET_TEXT_BYTES
    again = ReplayedOffsets.of(committed, 0)
    assert [o for o in range(8000) if o in again] == [o for o in range(8000) if o in replayed]


def test_more_than_kafka_keeps_is_an_error() -> None:
    """Before anything is published: what could not be noted might be replayed twice."""
    chance = random.Random(7)
    replayed = ReplayedOffsets(0)
    for offset in range(1, 60_000):
        if chance.random() < 0.5:
            replayed.add(offset, offset - 1)

    with pytest.raises(UsageError, match="fewer filters, or with another --group"):
        replayed.committed()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "topicserve1 working=5f",
        "replayed1 1",
        "replayed1 0+1",
        "replayed1 1+-1",
        "replayed1z !",
    ],
)
def test_offsets_of_another_program_are_refused(text: str) -> None:
    """Its group would lose what it has committed."""
    with pytest.raises(UsageError, match=r"--group: .* name another one"):
        ReplayedOffsets.of(OffsetAndMetadata(5, text), 0)


@given(text=st.text() | st.text().map(lambda text: f"replayed1z {text}"))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Others may write to any group."""
    with suppress(UsageError):
        assert ReplayedOffsets.of(OffsetAndMetadata(5, text), 0).base >= 5


def test_what_retention_has_deleted_is_no_gap() -> None:
    """A group that has replayed nothing begins at the log's start."""
    assert ReplayedOffsets.of(None, 7).base == 7
    assert ReplayedOffsets.of(OffsetAndMetadata(3, "replayed1 2+4"), 6).base == 9
