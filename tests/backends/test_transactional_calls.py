import threading
from collections.abc import Iterator

import pytest

from topicserve.backends.bounded_calls import TransactionalCalls
from topicserve.backends.errors import BackendUnavailableError

LIMIT = 10.0


@pytest.fixture
def answer() -> Iterator[threading.Event]:
    """Give what calls wait for; they end with the test."""
    event = threading.Event()
    yield event
    event.set()


def hang(calls: TransactionalCalls, answer: threading.Event) -> None:
    """Give a call up."""
    with pytest.raises(BackendUnavailableError):
        calls.call("commit", lambda: answer.wait(LIMIT), 0.01)


def test_a_client_that_answers_is_kept() -> None:
    """Also one whose answer was an error."""
    calls, given_up = TransactionalCalls("calls"), list[str]()

    with pytest.raises(ZeroDivisionError):
        calls.call("commit", lambda: 1 / 0, LIMIT)

    assert not calls.needs_takeover(lambda: given_up.append("client"))
    assert given_up == []


def test_a_client_that_owes_an_answer_is_given_up_once(answer: threading.Event) -> None:
    """Its successor may try more than once to take over, and then is a client as any."""
    calls, given_up = TransactionalCalls("calls"), list[str]()
    hang(calls, answer)

    needed = [calls.needs_takeover(lambda: given_up.append("client")) for _ in range(3)]
    calls.taken_over()
    needed.append(calls.needs_takeover(lambda: given_up.append("client")))

    assert needed == [True, True, True, False]
    assert given_up == ["client"]


def test_a_successor_does_not_wait_for_what_was_given_up(answer: threading.Event) -> None:
    """The old client's call may never end."""
    calls = TransactionalCalls("calls")
    hang(calls, answer)
    calls.needs_takeover(lambda: None)

    assert calls.call("init_transactions", lambda: "done", LIMIT) == "done"


def test_a_lost_client_is_given_up_although_it_answered() -> None:
    """The adapter knows of other reasons."""
    calls, given_up = TransactionalCalls("calls"), list[str]()

    assert calls.needs_takeover(lambda: given_up.append("client"), is_lost=True)
    assert given_up == ["client"]
