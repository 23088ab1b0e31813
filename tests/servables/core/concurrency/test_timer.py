import logging
import threading
from collections.abc import Callable

import pytest

from tests.support.servables.lifecycle import LIMIT_SECONDS, Gate
from topicserve.servables.core.concurrency.timer import TimerThread


@pytest.fixture
def timer(closing: Callable[[Callable[[], object]], None]) -> TimerThread:
    """Return a timer."""
    made = TimerThread()
    closing(made.close)
    return made


def test_calls_come_in_the_order_of_their_times(
    closing: Callable[[Callable[[], object]], None],
) -> None:
    """Whatever the order in which they were asked for; at the same time, in that order."""
    now = [0.0]
    timer = TimerThread(clock=lambda: now[0])
    closing(timer.close)
    order: list[str] = []
    done = threading.Event()
    timer.call_later(200, lambda: order.append("third"))
    timer.call_later(100, lambda: order.append("first"))
    timer.call_later(100, lambda: order.append("second"))

    now[0] = 300.0
    timer.call_later(0, done.set)

    assert done.wait(LIMIT_SECONDS)
    assert order == ["first", "second", "third"]


def test_a_cancelled_call_is_never_made(timer: TimerThread) -> None:
    """The answer says whether that was in time; once only."""
    calls: list[str] = []
    done = threading.Event()
    cancel = timer.call_later(0.01, lambda: calls.append("cancelled"))

    answers = [cancel(), cancel()]
    timer.call_later(0.02, done.set)

    assert done.wait(LIMIT_SECONDS)
    assert answers == [True, False]
    assert calls == []


def test_a_call_that_was_made_cannot_be_cancelled(timer: TimerThread) -> None:
    """The answer says so."""
    done = threading.Event()
    cancel = timer.call_later(0, done.set)
    assert done.wait(LIMIT_SECONDS)

    assert not cancel()


def test_a_failing_call_harms_no_other(
    timer: TimerThread, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged."""
    done = threading.Event()

    def fail() -> None:
        raise RuntimeError("broken call")

    with caplog.at_level(logging.ERROR):
        timer.call_later(0, fail)
        timer.call_later(0, done.set)
        assert done.wait(LIMIT_SECONDS)

    assert "broken call" in caplog.text


def test_closing_waits_for_the_call_under_way_and_makes_no_other() -> None:
    """Not even what is due, and what is asked for later."""
    timer, gate, calls = TimerThread(), Gate(), []
    timer.call_later(0, gate)
    timer.call_later(0, lambda: calls.append("due"))
    gate.wait_until_entered()

    closer = threading.Thread(target=timer.close)
    closer.start()
    with timer._changed:
        assert timer._changed.wait_for(lambda: timer._is_closed, LIMIT_SECONDS)
    gate.open()
    closer.join(LIMIT_SECONDS)
    timer.call_later(0, lambda: calls.append("late"))

    assert not closer.is_alive()
    assert calls == []


def test_a_call_may_close_the_timer() -> None:
    """It does not wait for itself."""
    timer, done = TimerThread(), threading.Event()

    def close() -> None:
        timer.close()
        done.set()

    timer.call_later(0, close)

    assert done.wait(LIMIT_SECONDS)
