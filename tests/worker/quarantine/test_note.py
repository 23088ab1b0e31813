from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from topicserve.worker.quarantine.note import Note, Suspects

offsets = st.integers(0, 2**63 - 1)
counts = st.integers(1, 1000)
suspects = st.builds(
    lambda first, more, deaths, alone, timed_out: Suspects(
        first, first + more, deaths, alone, timed_out
    ),
    offsets,
    st.integers(0, 1000),
    st.integers(0, 1000),
    st.integers(0, 1000),
    st.booleans(),
)
workers = st.sampled_from(["", "5f0c2e77", "00000000"])
given_up = st.dictionaries(offsets, st.booleans(), max_size=100)


@st.composite
def some_notes(draw: st.DrawFn) -> Note:
    """Return a note as a worker may write it: predicting nothing without suspects."""
    deaths, until = draw(st.just((0, 0)) | st.tuples(counts, offsets))
    found = draw(st.none() | suspects)
    predicting = found is not None and draw(st.booleans())
    return Note(draw(workers), deaths, until, found, predicting, draw(given_up))


notes = some_notes()


@given(notes)
def test_a_note_is_read_as_it_was_written(note: Note) -> None:
    """And it fits into what a broker keeps beside an offset."""
    assert Note.parse(note.text) == note
    assert len(note.text) < 4096


@given(st.text())
def test_any_other_text_says_nothing(text: str) -> None:
    """Other programs of the group may have written it."""
    assert Note.parse(text) == Note()
    assert isinstance(Note.parse("topicserve1 " + text), Note)


@given(notes, offsets, offsets)
def test_a_partition_given_up_in_order_accuses_nothing(
    note: Note, next_offset: int, end: int
) -> None:
    """Whatever is known of its suspects stays as it is."""
    taken = note.handed_over().taken_over("other", next_offset, end)

    assert taken.deaths in (0, note.deaths)
    assert taken.suspects in (None, note.suspects)


@given(notes, offsets, offsets)
def test_a_worker_that_finds_its_own_note_did_not_die(
    note: Note, next_offset: int, end: int
) -> None:
    """It was cut off from the group, and came back."""
    mine = Note("me", note.deaths, note.until, note.suspects)

    assert mine.taken_over("me", next_offset, end).deaths in (0, note.deaths)


def test_a_death_accuses_all_that_may_have_been_in_flight() -> None:
    """Where the worker had not noted what it was predicting."""
    assert Note("dead").taken_over("next", 10, 60) == Note("next", 1, 60)
    assert Note("dead", 1, 60).taken_over("next", 60, 80) == Note("next", 1, 80)


def test_a_death_between_two_chunks_accuses_nothing_more() -> None:
    """Nothing of the partition was being predicted, so it was another's fault."""
    remembered = Note("dead", 1, 60, Suspects(30, 30, 2, alone=1))
    assert remembered.taken_over("next", 20, 50) == Note("next", 1, 60, remembered.suspects)
    assert Note("dead", 1, 60).taken_over("next", 20, 50) == Note("next", 1, 60)


def test_a_death_accuses_the_suspects_alone_where_there_are_some() -> None:
    """And offsets that were committed since accuse nothing."""
    noted = Note("dead", 1, 60, Suspects(10, 19, 1), is_predicting=True)

    assert noted.taken_over("next", 10, 99) == Note("next", 1, 60, Suspects(10, 19, 2))
    assert noted.taken_over("next", 20, 60) == Note("next", 1, 60)


def test_one_record_alone_is_given_up_when_it_was_so_twice() -> None:
    """Anyone who kills workers at random kills them with one record or the other in flight."""
    noted = Note("dead", 1, 60, Suspects(10, 10, 2), is_predicting=True)
    once = noted.taken_over("next", 10, 60)
    assert once.suspects == Suspects(10, 10, 3, alone=1)
    assert once.judged(3) == once

    twice = replace(once, is_predicting=True).taken_over("last", 10, 60).judged(3)

    assert twice.suspects is None
    assert twice.given_up == {10: False}


def test_one_record_that_timed_out_alone_is_given_up_at_once() -> None:
    """A prediction that does not return is no accident."""
    noted = Note("dead", 0, 0, Suspects(10, 10, 2, timed_out=True), is_predicting=True)

    assert noted.taken_over("next", 10, 60).judged(3).given_up == {10: True}
