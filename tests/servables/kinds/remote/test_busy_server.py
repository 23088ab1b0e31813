"""Batches get through a server that has no room for some calls, or for some rows."""

import re
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.servables.kinds.remote.fake_server import NO_ROOM, ROWS, WHOLE, Worker, doubled
from tests.support.stages.records import ManualClock
from topicserve.servables.core.errors import UnavailableError
from topicserve.servables.kinds.remote.busy_server import MAX_KEPT_BYTES, KeptAnswers
from topicserve.servables.kinds.remote.divided_inputs import DividedInputs
from topicserve.servables.kinds.servable import Signature

BAD = 1_000


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 64),
    most=st.sampled_from([1, 3, 1_000]),
    busy_percent=st.sampled_from([10, 50, 70, 90]),
    seed=st.integers(0, 2**32),
)
def test_a_busy_server_is_got_through(count: int, most: int, busy_percent: int, seed: int) -> None:
    """Every record is answered, and what was answered is not asked for again."""
    random = Random(seed)
    worker = Worker(choose=random.randrange)
    worker.process([[BAD]])  # what the server is probed with
    worker.server.most = most, NO_ROOM
    worker.server.is_busy = lambda: random.random() < busy_percent / 100
    records = [[number] for number in range(count)]

    assert worker.process(records) == doubled(records)

    answered = sum(len(rows) for rows in worker.server.answered)
    assert answered < 4 * count + 20  # what a refused row is compared with is included


@settings(max_examples=15, deadline=None)
@given(
    before=st.integers(1, 20),
    behind=st.integers(0, 20),
    bad=st.integers(1, 4),
    busy_percent=st.sampled_from([0, 10]),
    seed=st.integers(0, 2**32),
)
def test_rows_that_never_have_room_are_given_up_beside_others(
    before: int, behind: int, bad: int, busy_percent: int, seed: int
) -> None:
    """However many they are; the others are answered."""
    random = Random(seed)
    worker = Worker(choose=random.randrange)
    worker.server.fails_on = dict.fromkeys(range(BAD, BAD + bad), NO_ROOM)
    worker.server.is_busy = lambda: random.random() < busy_percent / 100
    good = [[number] for number in range(before)]
    last = [[number] for number in range(100, 100 + behind)]

    answers = worker.process([*good, *([row] for row in range(BAD, BAD + bad)), *last], 10_000)

    refused = answers[before : before + bad]
    assert answers[:before] + answers[before + bad :] == doubled(good + last)
    text = f"failed 1[0-9] times, while the server answered other calls: {NO_ROOM}"
    assert all(re.fullmatch(text, one) for one in refused)


def test_a_row_without_room_is_asked_for_after_growing_pauses(worker: Worker) -> None:
    """Each time between two calls for another row, while the rest of its batch is kept."""
    worker.process([[7]])
    worker.server.fails_on = {BAD: NO_ROOM}
    records = [[1], [2], [BAD], [3]]

    answers = worker.process(records)

    assert [one for one in answers if isinstance(one, list)] == [[2], [4], [6]]
    tries = [
        at
        for at, rows in zip(worker.server.times, worker.server.calls, strict=True)
        if rows == [BAD]
    ]
    pauses = np.diff(tries[1:])  # it is asked for twice at first
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10], abs=0.25)
    assert len(worker.server.calls) < 50
    assert worker.server.answered.count([1, 2]) == 1


def test_a_server_without_any_room_is_asked_after_growing_pauses(worker: Worker) -> None:
    """And for few rows of a batch, of which none is given up."""
    worker.server.away = NO_ROOM
    with pytest.raises(TimeoutError):
        worker.process([[number] for number in range(64)])

    times = sorted(set(worker.server.times))
    assert max(np.diff(times)) == pytest.approx(5.0, abs=0.2)
    assert len(worker.server.calls) < 25 * len(times)
    assert len(times) < 60


@pytest.mark.parametrize("signature", [ROWS, WHOLE])
def test_a_record_without_room_waits_where_none_is_answered(signature: Signature) -> None:
    """Whether the server has room for others is not known."""
    worker = Worker(signature)
    worker.server.fails_on = {BAD: NO_ROOM}

    with pytest.raises(TimeoutError):
        worker.process([[BAD]])


def test_a_known_answer_gives_up_one_row_at_most(worker: Worker) -> None:
    """A server without room may have the sample's answer in a cache."""
    worker.process([[7]])
    worker.server.fails_on = dict.fromkeys(range(BAD, BAD + 8), NO_ROOM)
    with pytest.raises(TimeoutError):
        worker.process([[row] for row in range(BAD, BAD + 8)])

    worker.server.fails_on = {}
    answers = worker.process([[row] for row in range(BAD, BAD + 8)])

    assert sum(isinstance(one, str) for one in answers) <= 1


def test_a_pass_over_a_slow_server_ends_early(worker: Worker) -> None:
    """A call that takes too long is taken for one that hangs."""
    worker.process([[7]])
    worker.server.most = 1, NO_ROOM
    started = worker.clock()

    def is_busy() -> bool:
        worker.clock.advance(5)
        return len(worker.server.calls) % 3 == 0

    worker.server.is_busy = is_busy
    with pytest.raises(UnavailableError):
        worker.predict(range(64))

    assert worker.clock() - started < 100


def test_answers_are_kept_for_the_same_question_alone() -> None:
    """Once each, for a minute."""
    clock = ManualClock()
    parts = DividedInputs({"x": np.array([1, 2, 2])}, ROWS)
    answers = [([0], {"y": np.array([10])}), ([2], {"y": np.array([20])})]
    kept = KeptAnswers(clock)

    kept.keep(parts, answers, "all")
    assert [units for units, _ in kept.take(parts, "all")] == [[0], [1]]
    assert kept.take(parts, "all") == []

    kept.keep(parts, answers, "all")
    assert kept.take(parts, "some") == []

    kept.keep(parts, answers, "all")
    clock.advance(60)
    assert kept.take(parts, "all") == []


def test_answers_that_are_too_large_together_are_not_kept() -> None:
    """The server is asked for them again."""
    parts = DividedInputs({"x": np.array([1, 2])}, ROWS)
    half = np.zeros((1, MAX_KEPT_BYTES // 2), np.uint8)
    kept = KeptAnswers(ManualClock())

    kept.keep(parts, [([0], {"y": half})], ())
    kept.keep(parts, [([1], {"y": half})], ())
    assert len(kept.take(parts, ())) == 2

    strings = np.array([b"x" * MAX_KEPT_BYTES], object)
    kept.keep(parts, [([0], {"y": strings})], ())
    assert kept.take(parts, ()) == []
