"""Records that a server fails on while it answers others are found and given up."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.servables.kinds.remote.fake_server import (
    LATE,
    NO_ROOM,
    ROWS,
    UNAVAILABLE,
    WHOLE,
    Worker,
)
from topicserve.servables.core.errors import (
    InvalidArgumentError,
    ServableError,
)
from topicserve.servables.kinds.servable import Signature

REFUSED = "refused"


def test_a_server_that_answers_is_called_once(worker: Worker) -> None:
    """With the inputs as they are."""
    assert worker.process([[1], [2, 3]]) == [[2], [4, 6]]
    assert worker.server.calls == [[1, 2, 3]]


def test_rows_that_stay_together_are_given_up_once_one_has_room() -> None:
    """Where rows may not be sent apart, a record that never has room holds up no others."""
    worker = Worker(WHOLE)
    worker.server.most = 1, NO_ROOM

    (answer,) = worker.process([[1, 2, 3]])

    assert answer == f"failed 10 times, while the server answered other calls: {NO_ROOM}"
    assert worker.clock() > 30


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 4), min_size=2, max_size=12),
    fails_on=st.sets(st.integers(0, 30), max_size=4),
    error=st.sampled_from([UNAVAILABLE, LATE]),
    down_seconds=st.sampled_from([0.0, 0.7]),
    random=st.randoms(use_true_random=False),
)
def test_records_that_a_server_fails_on_are_given_up_alone(
    sizes: list[int], fails_on: set[int], error: ServableError, down_seconds: float, random: Any
) -> None:
    """All others are answered, wherever they stand, and though each failure ends the server."""
    worker = Worker(choose=random.randrange)
    worker.server.fails_on = dict.fromkeys(fails_on, error)
    worker.server.down_seconds = down_seconds
    numbers = iter(range(sum(sizes)))
    records = [[next(numbers) for _ in range(size)] for size in sizes] + [[98]]
    worker.process([[99]])

    answers = worker.process(records)

    for record, answer in zip(records, answers, strict=True):
        if fails_on.isdisjoint(record):
            assert answer == [row * 2 for row in record]
        else:
            assert answer == f"failed 3 times, while the server answered other calls: {error}"


@pytest.mark.parametrize("signature", [ROWS, WHOLE])
def test_a_record_is_given_up_after_growing_pauses(signature: Signature) -> None:
    """Each try follows the answer to a row that was answered before, but for the first failure."""
    worker = Worker(signature)
    worker.process([[7]])
    worker.server.fails_on = {1: UNAVAILABLE}

    worker.process([[1]])

    calls = list(zip(worker.server.times, worker.server.calls, strict=True))
    times = [time for time, rows in calls if rows == [1]]
    assert np.diff(times) == pytest.approx([0.1, 1.0, 2.0], abs=0.05)
    assert [rows for _, rows in calls] == [[7], [1], *([7], [1]) * 3]


def test_a_record_that_nothing_can_be_compared_with_waits(worker: Worker) -> None:
    """Nothing shows that the server is not away; the next record of the servable does."""
    worker.server.fails_on = {1: UNAVAILABLE}
    with pytest.raises(TimeoutError):
        worker.process([[1]])

    refused, answered = worker.process([[1], [2]])

    assert (answered, refused[:14]) == ([4], "failed 3 times")


def test_equal_rows_are_given_up_together(worker: Worker) -> None:
    """They cannot be told apart, and need not be."""
    worker.server.fails_on = {1: UNAVAILABLE}

    answers = worker.process([[1], [2], [1], [1, 3]])

    assert [one if isinstance(one, list) else REFUSED for one in answers] == [
        *(REFUSED, [4], REFUSED, REFUSED),
    ]


def test_a_slow_row_makes_no_other_batch_smaller(worker: Worker) -> None:
    """The size was not at fault."""
    worker.server.fails_on = {9: LATE}
    worker.process([[number] for number in range(20)])
    del worker.server.calls[:]

    worker.process([[1], [2], [3], [4]])

    assert worker.server.calls == [[1, 2, 3, 4]]


def test_what_was_given_up_is_not_sent_for_a_while(worker: Worker) -> None:
    """It would fail again, and may end the server each time."""
    worker.process([[7]])
    worker.server.fails_on = {1: UNAVAILABLE}
    worker.process([[1]])
    del worker.server.calls[:]

    with pytest.raises(InvalidArgumentError, match="failed 3 times"):
        worker.predict([1])
    assert worker.server.calls == []

    worker.clock.advance(300)
    worker.server.fails_on = {}
    assert worker.predict([1]) == [2]


def test_a_server_that_answers_from_a_cache_alone_costs_one_record(worker: Worker) -> None:
    """No other record is given up before one that is not known was answered."""
    worker.process([[7]])
    numbers = range(100, 140)
    worker.server.fails_on = dict.fromkeys(numbers, UNAVAILABLE)
    answers = list[Any]()

    for number in numbers:
        try:
            answers += worker.process([[number]], rounds=100)
        except TimeoutError:
            answers.append(None)

    assert [one is None for one in answers] == [False] + [True] * 39
    worker.server.fails_on = {}
    assert worker.process([[number] for number in numbers[1:]]) == [[n * 2] for n in numbers[1:]]


def test_many_records_are_given_up_beside_one_that_is_answered(worker: Worker) -> None:
    """Each after another answer to that one."""
    worker.server.fails_on = dict.fromkeys(range(20), UNAVAILABLE)

    *refused, answered = worker.process([[number] for number in range(21)])

    assert answered == [40]
    assert all(one.startswith("failed 3 times") for one in refused)
