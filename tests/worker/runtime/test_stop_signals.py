import os
import signal
import threading

import pytest

from tests.support.stages.records import ManualClock
from topicserve.exit_codes import EXIT_INTERRUPTED
from topicserve.worker.runtime.stop_signals import StopTime, stop_at_end_of, stop_signals

LIMIT_SECONDS = 10


class Exit:
    """Stands for os._exit: remembers the code, and that it was called."""

    def __init__(self) -> None:
        self.called = threading.Event()
        self.code: int | None = None

    def __call__(self, code: int) -> None:
        self.code = code
        self.called.set()


def test_the_time_of_a_stop_runs_from_the_first_look_that_sees_it() -> None:
    """It is never less than nothing, and a stop that was seen is not taken back."""
    clock = ManualClock()
    stop_time = StopTime(30.0, clock)

    assert (stop_time.begun(), stop_time.left_seconds) == (False, 30.0)
    stop_time.is_asked = lambda: True
    clock.advance(5.0)
    assert (stop_time.begun(), stop_time.left_seconds) == (True, 30.0)
    stop_time.is_asked = lambda: False
    clock.advance(20.0)
    assert (stop_time.begun(), stop_time.left_seconds) == (True, 10.0)
    clock.advance(20.0)
    assert stop_time.left_seconds == 0.0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_asks_to_stop(number: signal.Signals) -> None:
    """Nothing else happens: the worker drains."""
    stop, leave = threading.Event(), Exit()

    with stop_signals(stop, leave):
        signal.raise_signal(number)
        assert stop.wait(LIMIT_SECONDS)

    assert not leave.called.is_set()


def test_the_second_signal_ends_the_process_at_once() -> None:
    """Whichever of the two they are."""
    stop, leave = threading.Event(), Exit()

    with stop_signals(stop, leave):
        signal.raise_signal(signal.SIGTERM)
        assert stop.wait(LIMIT_SECONDS)
        signal.raise_signal(signal.SIGINT)
        assert leave.called.wait(LIMIT_SECONDS)

    assert leave.code == EXIT_INTERRUPTED


def test_a_start_that_does_not_end_is_ended() -> None:
    """Nothing was polled, so nothing is lost, and the exit code says that all is well."""
    stop, leave = threading.Event(), Exit()

    with stop_signals(stop, leave, lambda: True, start_stop_seconds=0.01):
        signal.raise_signal(signal.SIGTERM)
        assert leave.called.wait(LIMIT_SECONDS)

    assert leave.code == 0


def test_a_start_that_ends_by_itself_is_left_alone() -> None:
    """What was ready by then drains, for as long as its own limit allows."""
    stop, leave, asked = threading.Event(), Exit(), threading.Semaphore(0)
    answers = iter([True, False])

    def is_starting() -> bool:
        asked.release()
        return next(answers)

    with stop_signals(stop, leave, is_starting, start_stop_seconds=0.01):
        signal.raise_signal(signal.SIGTERM)
        assert asked.acquire(timeout=LIMIT_SECONDS)
        assert asked.acquire(timeout=LIMIT_SECONDS)

    assert not leave.called.is_set()


def test_other_signals_are_not_taken_for_a_stop() -> None:
    """The interpreter reports all signals that have a handler in Python."""
    stop = threading.Event()
    seen = threading.Event()
    before = signal.signal(signal.SIGUSR1, lambda *_: seen.set())

    with stop_signals(stop, Exit()):
        signal.raise_signal(signal.SIGUSR1)

    signal.signal(signal.SIGUSR1, before)
    assert seen.is_set()
    assert not stop.is_set()


def test_handlers_are_given_back() -> None:
    """A program that embeds a worker keeps its own."""
    before = signal.getsignal(signal.SIGTERM)

    with stop_signals(threading.Event()):
        assert signal.getsignal(signal.SIGTERM) is not before

    assert signal.getsignal(signal.SIGTERM) is before


def test_a_supervisor_that_is_gone_asks_to_stop() -> None:
    """Its end of the pipe is closed by the system, however it ended."""
    stop = threading.Event()
    reading, writing = os.pipe()
    stop_at_end_of(reading, stop)

    os.write(writing, b"anything")
    assert not stop.is_set()
    os.close(writing)

    assert stop.wait(LIMIT_SECONDS)
    os.close(reading)


def test_the_signals_that_came_are_told() -> None:
    """A command ends otherwise after Ctrl-C than after a stop."""
    stop = threading.Event()

    with stop_signals(stop, Exit()) as come:
        assert signal.SIGINT not in come
        signal.raise_signal(signal.SIGINT)
        assert stop.wait(LIMIT_SECONDS)

        assert signal.SIGINT in come
        assert signal.SIGTERM not in come


def test_a_start_may_end_with_a_code_of_its_own() -> None:
    """Where nothing done is no success."""
    stop, leave = threading.Event(), Exit()

    with stop_signals(
        stop, leave, lambda: True, start_stop_seconds=0.01, start_exit_code=EXIT_INTERRUPTED
    ):
        signal.raise_signal(signal.SIGINT)
        assert leave.called.wait(LIMIT_SECONDS)

    assert leave.code == EXIT_INTERRUPTED
