import threading

import pytest

from topicserve.backends.bounded_calls import BoundedCalls
from topicserve.backends.errors import BackendUnavailableError, FencedError

LIMIT = 30.0


def test_a_call_gives_what_the_function_gives() -> None:
    """Values are returned and errors raised as they are."""
    calls = BoundedCalls("calls")

    def fenced() -> None:
        raise FencedError("by another")

    assert calls.call("add", lambda: 1 + 1, LIMIT) == 2
    with pytest.raises(FencedError, match="by another"):
        calls.call("fail", fenced, LIMIT)
    assert calls.call("add", lambda: 2 + 2, LIMIT) == 4


def test_a_call_that_takes_too_long_is_given_up_and_waited_for_again() -> None:
    """Asked for again, a call that goes on is not begun a second time."""
    calls, answer, begun = BoundedCalls("calls"), threading.Event(), []

    def commit() -> str:
        begun.append(1)
        answer.wait(LIMIT)
        return "committed"

    with pytest.raises(BackendUnavailableError, match="commit"):
        calls.call("commit", commit, 0.01)
    assert calls.hangs
    answer.set()

    assert calls.call("commit", commit, LIMIT) == "committed"
    assert begun == [1]
    assert not calls.hangs


def test_a_call_is_unanswered_until_it_was_asked_for_to_its_end() -> None:
    """That it has ended meanwhile is not enough: someone must have heard what came of it."""
    calls, answer = BoundedCalls("calls"), threading.Event()
    assert not calls.unanswered

    with pytest.raises(BackendUnavailableError):
        calls.call("commit", lambda: answer.wait(LIMIT), 0.01)
    given_up = calls.unanswered
    answer.set()
    calls.call("commit", lambda: answer.wait(LIMIT), LIMIT)

    assert given_up
    assert not calls.unanswered


def test_another_call_waits_for_the_one_before() -> None:
    """Calls never run side by side: the next begins when the last has ended."""
    calls, answer = BoundedCalls("calls"), threading.Event()

    with pytest.raises(BackendUnavailableError):
        calls.call("commit", lambda: answer.wait(LIMIT), 0.01, {"a": 1})
    with pytest.raises(BackendUnavailableError):
        calls.call("commit", lambda: True, 0.01, {"a": 2})
    answer.set()

    assert calls.call("commit", lambda: "second", LIMIT, {"a": 2}) == "second"
