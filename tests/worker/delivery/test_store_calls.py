import threading

import pytest

from tests.support.stages.records import ManualClock
from topicserve.backends.references.daemon_threads import MAX_LEFT_THREADS
from topicserve.backends.references.errors import BodyStoreError
from topicserve.worker.delivery.store_calls import StoreCalls
from topicserve.worker.runtime.retry import RetryLoop, ShutdownRequestedError

PATIENCE_SECONDS = 60.0


def test_a_call_that_returns_in_time_is_a_call() -> None:
    """What it raises is raised."""
    calls = StoreCalls(RetryLoop(1.0), ManualClock())
    done: list[int] = []

    calls.call(lambda: done.append(1), PATIENCE_SECONDS)
    with pytest.raises(OSError, match="disk full"):
        calls.call(lambda: raise_error(OSError("disk full")), PATIENCE_SECONDS)

    assert done == [1]


def raise_error(error: BaseException) -> None:
    """Raise an error."""
    raise error


def test_calls_that_do_not_return_are_left_behind_and_bounded() -> None:
    """Once they return after all, there is room for others again."""
    clock, over = ManualClock(), threading.Event()
    calls = StoreCalls(RetryLoop(1.0), clock)
    threads: list[threading.Thread] = []

    def hang() -> None:
        threads.append(threading.current_thread())
        clock.advance(0.01)  # late once it has begun
        over.wait(PATIENCE_SECONDS)

    for _ in range(MAX_LEFT_THREADS):
        with pytest.raises(BodyStoreError, match="no answer for"):
            calls.call(hang, 0.01)
    with pytest.raises(BodyStoreError, match=f"{MAX_LEFT_THREADS} earlier calls"):
        calls.call(hang, 0.01)
    over.set()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)

    assert len(threads) == MAX_LEFT_THREADS
    done: list[int] = []
    calls.call(lambda: done.append(1), 10**9)
    assert done == [1]


def test_a_worker_that_gives_up_waits_for_no_call() -> None:
    """Its caller is told at once, however long the call may take."""
    retry_loop, over = RetryLoop(1.0), threading.Event()
    calls = StoreCalls(retry_loop, ManualClock())

    def hang() -> None:
        retry_loop.shut_down()
        over.wait(PATIENCE_SECONDS)

    with pytest.raises(ShutdownRequestedError):
        calls.call(hang, PATIENCE_SECONDS)
    over.set()


def test_threads_end_with_what_made_them() -> None:
    """Whether it is closed or dropped; one that is closed makes no more calls."""
    closed, dropped = (StoreCalls(RetryLoop(1.0), ManualClock()) for _ in range(2))
    threads: list[threading.Thread] = []
    for calls in (closed, dropped):
        calls.call(lambda: threads.append(threading.current_thread()), PATIENCE_SECONDS)

    closed.close()
    del calls, dropped
    for thread in threads:
        thread.join(PATIENCE_SECONDS)

    assert [thread.is_alive() for thread in threads] == [False, False]
    with pytest.raises(RuntimeError):
        closed.call(lambda: None, PATIENCE_SECONDS)
