"""Calls wait while a server is away, and become smaller while it has no room or time."""

import threading

import numpy as np
import pytest

from tests.servables.kinds.remote.fake_server import (
    FULL_QUEUE,
    FULL_TF_QUEUE,
    LATE,
    NO_ROOM,
    ROWS,
    TOO_LARGE,
    UNAVAILABLE,
    Worker,
    doubled,
)
from topicserve.servables.core.errors import (
    InvalidArgumentError,
    ServableError,
    UnavailableError,
)
from topicserve.servables.kinds.remote.careful_calls import CarefulCalls
from topicserve.servables.kinds.servable import Columns


def test_a_server_that_answers_is_called_once(worker: Worker) -> None:
    """With the inputs as they are."""
    assert worker.process([[1], [2, 3]]) == [[2], [4, 6]]
    assert worker.server.calls == [[1, 2, 3]]


@pytest.mark.parametrize("error", [NO_ROOM, FULL_QUEUE, FULL_TF_QUEUE])
@pytest.mark.parametrize("records", [[[1]], [[1, 2]], [[1, 2, 3], [4], [5, 6]]])
def test_records_wait_for_a_server_without_room(
    worker: Worker, records: list[list[int]], error: ServableError
) -> None:
    """For as long as it has none for a single row; none is given up, however many rows it has."""
    worker.process([[7]])
    worker.server.away = error

    with pytest.raises(TimeoutError):
        worker.process(records)

    worker.server.away = None
    assert worker.process(records) == doubled(records)


def test_a_batch_is_halved_until_there_is_room(worker: Worker) -> None:
    """In one go, and the next batches have as many rows at once, until the server is less busy."""
    worker.server.most = 3, NO_ROOM
    records = [[1, 2, 3, 4], [5], [6], [7], [8]]

    assert worker.process(records, rounds=1) == doubled(records)
    assert [len(rows) for rows in worker.server.calls] == [8, 4, 2, 2, 2, 2]

    del worker.server.calls[:]
    worker.process([[1, 2, 3]])
    worker.clock.advance(20)
    worker.server.most = 8, NO_ROOM
    worker.process(records)
    assert [len(rows) for rows in worker.server.calls] == [2, 1, 8]


def test_a_message_that_is_too_large_is_sent_in_parts(worker: Worker) -> None:
    """A row that is too large by itself is its record's error."""
    worker.server.most = 2, TOO_LARGE
    assert worker.process([[1, 2, 3, 4, 5]]) == [[2, 4, 6, 8, 10]]

    worker.server.most = 0, TOO_LARGE
    assert worker.process([[1]]) == [str(TOO_LARGE)]


@pytest.mark.parametrize("error", [UNAVAILABLE, LATE, NO_ROOM])
def test_nothing_is_given_up_while_the_server_is_away(worker: Worker, error: ServableError) -> None:
    """However long that takes, whatever it says, and also where it has answered before."""
    records = [[1], [2, 3], [4]]
    worker.process(records)
    worker.server.away = error

    with pytest.raises(TimeoutError):
        worker.process(records)

    worker.server.away = None
    assert worker.process(records) == doubled(records)
    del worker.server.calls[:]
    worker.process(records)
    assert worker.server.calls == [[1, 2, 3, 4]]


def test_a_server_that_is_away_is_asked_for_one_row() -> None:
    """And for the batch as soon as it answers that."""
    worker = Worker(choose=lambda _: 0)
    worker.process([[7]])
    worker.server.away = UNAVAILABLE
    with pytest.raises(TimeoutError):
        worker.process([[1], [2]], rounds=4)
    worker.server.away = None
    worker.process([[1], [2]])

    assert worker.server.calls == [[7], [1, 2], [7], [7], [7], [1], [1, 2]]


def test_a_batch_that_takes_too_long_becomes_smaller(worker: Worker) -> None:
    """What fits into the time is remembered, and nothing is given up."""
    worker.server.most = 5, LATE
    records = [[number] for number in range(40)]
    for _ in range(3):
        assert worker.process(records) == doubled(records)

    del worker.server.calls[:]
    assert worker.process(records, rounds=1) == doubled(records)
    assert {len(rows) for rows in worker.server.calls} == {5}

    worker.server.most = 40, LATE
    for seconds, rows in ((300, 10), (300, 20), (300, 40)):
        del worker.server.calls[:]
        worker.clock.advance(seconds)
        worker.process(records, rounds=1)
        assert {len(one) for one in worker.server.calls} == {rows}


def test_what_the_server_refuses_is_raised_as_it_is(worker: Worker) -> None:
    """It is an answer."""
    refusal = InvalidArgumentError("server: INVALID_ARGUMENT: no")
    worker.server.fails_on = {1: refusal}

    with pytest.raises(InvalidArgumentError) as error:
        worker.predict([1, 2])
    assert error.value is refusal


def test_a_refused_probe_shows_that_the_server_answers(worker: Worker) -> None:
    """As it may be of a row that is refused."""
    worker.server.fails_on = {1: InvalidArgumentError("no")}
    worker.server.away = UNAVAILABLE
    with pytest.raises(UnavailableError):
        worker.predict([1, 2])
    worker.server.away = None

    assert worker.process([[1], [2]]) == ["no", [4]]


def test_one_call_at_a_time_while_the_server_is_in_doubt() -> None:
    """What shares a moment with inputs that end the server would be suspected with them."""
    careful = CarefulCalls(0.01)
    is_called, may_return = threading.Event(), threading.Event()
    inputs = {"x": np.array([1, 2])}

    def fail(_: Columns) -> Columns:
        raise UNAVAILABLE

    def hang(_: Columns) -> Columns:
        is_called.set()
        assert may_return.wait(60)
        raise UNAVAILABLE

    def predict_until_it_fails() -> None:
        with pytest.raises(UnavailableError, match="as told"):
            careful.predict(hang, inputs, ROWS)

    with pytest.raises(UnavailableError):
        careful.predict(fail, inputs, ROWS)
    first = threading.Thread(target=predict_until_it_fails)
    first.start()
    assert is_called.wait(60)
    with pytest.raises(UnavailableError, match="another call finds out"):
        careful.predict(fail, inputs, ROWS)
    may_return.set()
    first.join(60)
