from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topicserve.backends.broker import MAX_OFFSET_TEXT_BYTES, OffsetAndMetadata, metadata_of
from topicserve.wire.dead_letter import Reason
from topicserve.worker.replay.progress_note import (
    RESULT,
    ForeignGroupError,
    OffsetRange,
    ProgressNote,
    Tally,
    split,
)

OFFSET = st.integers(0, 2**63 - 1)
OUTCOMES = st.dictionaries(
    st.sampled_from([RESULT, *(reason.value for reason in Reason)]), st.integers(1, 2**53)
)


@given(OFFSET, OFFSET, OFFSET, st.integers(0, 2**53), OUTCOMES, st.text())
def test_a_note_is_read_as_it_was_written(
    offset: int, start: int, end: int, read: int, outcomes: dict[str, int], workers: str
) -> None:
    """The worker's own note beside it too, whatever it says."""
    note = ProgressNote("5f0c2e77", OffsetRange(start, end), Tally(read, Counter(outcomes)))

    found, left = split(note.beside(OffsetAndMetadata(offset, workers)))

    assert found == note
    assert (left, metadata_of(left)) == (offset, workers)


def test_a_full_note_fits_beside_an_offset() -> None:
    """Every reason counted and the longest note of a worker take less than Kafka's 4,096 bytes."""
    outcomes = Counter({reason.value: 2**53 for reason in Reason})
    note = ProgressNote("5f0c2e77", OffsetRange(2**63 - 1, 2**63 - 1), Tally(2**53, outcomes))
    given_up = ",".join(["9223372036854775807t"] * 100)

    committed = note.beside(OffsetAndMetadata(7, f"topicserve1 working=12345678 {given_up}"))

    assert len(metadata_of(committed).encode()) <= MAX_OFFSET_TEXT_BYTES


@given(st.text() | st.text().map(lambda text: f"replay1 {text}"))
def test_another_programs_offsets_are_refused(text: str) -> None:
    """Also what only begins as a note of ours."""
    with pytest.raises(ForeignGroupError):
        split(OffsetAndMetadata(7, text))
