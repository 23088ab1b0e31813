import threading

import pytest

from tests.support.stages.records import ManualClock
from topicserve.backends.references.errors import BodyStoreError
from topicserve.worker.delivery.store_calls import MAX_LOST_CALLS, StoreCalls
from topicserve.worker.runtime.retry import RetryLoop, ShutdownRequestedError

PATIENCE_SECONDS = 60.0


class LateClock(ManualClock):
    """A clock that moves by a second each time that it is read."""

    def __call__(self) -> float:
        self.advance(1.0)
        return self.now


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
    calls, over = StoreCalls(RetryLoop(1.0), LateClock()), threading.Event()
    threads: list[threading.Thread] = []

    def hang() -> None:
        threads.append(threading.current_thread())
        over.wait(PATIENCE_SECONDS)

    for _ in range(MAX_LOST_CALLS):
        with pytest.raises(BodyStoreError, match="no answer for 1 s"):
            calls.call(hang, 1.0)
    with pytest.raises(BodyStoreError, match=f"{MAX_LOST_CALLS} earlier calls"):
        calls.call(hang, 1.0)
    over.set()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)

    assert len(threads) == MAX_LOST_CALLS
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
