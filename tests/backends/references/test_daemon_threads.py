import subprocess
import sys
import threading
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import Any

import pytest

from topicserve.backends.references import daemon_threads
from topicserve.backends.references.daemon_threads import DaemonThreads

LIMIT_SECONDS = 60.0


class Hanging:
    """Calls that wait until they are let go."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.begun = threading.Semaphore(0)

    def __call__(self) -> str:
        self.begun.release()
        self.go_on.wait(LIMIT_SECONDS)
        return "done"

    def fill(self, threads: DaemonThreads, count: int) -> list[Future[Any]]:
        """Have so many of them running."""
        futures = [threads.submit(self) for _ in range(count)]
        for _ in range(count):
            assert self.begun.acquire(timeout=LIMIT_SECONDS)
        return futures


def test_calls_are_made_in_their_order_and_raise_what_they_raise() -> None:
    """By one thread, where there is one."""
    threads = DaemonThreads(1, "test")
    made: list[int] = []

    def fail() -> None:
        raise ValueError("no")

    futures = [threads.submit(partial(made.append, number)) for number in range(50)]
    failed = threads.submit(fail)

    with pytest.raises(ValueError, match="no"):
        failed.result(LIMIT_SECONDS)
    assert made == list(range(50))
    assert all(future.done() for future in futures)
    threads.close()
    with pytest.raises(RuntimeError):
        threads.submit(fail)


def test_as_many_calls_run_at_once_as_there_are_threads() -> None:
    """The next one runs when a place is free."""
    threads, hanging = DaemonThreads(3, "test"), Hanging()
    futures = hanging.fill(threads, 3)
    after = threads.submit(lambda: "after")

    assert not after.done()
    hanging.go_on.set()

    assert after.result(LIMIT_SECONDS) == "after"
    assert [future.result(LIMIT_SECONDS) for future in futures] == ["done"] * 3
    threads.close()


def test_a_call_that_is_left_gives_its_place_to_the_next() -> None:
    """It may go on; one that has not begun is not made."""
    threads, hanging = DaemonThreads(2, "test"), Hanging()
    made: list[str] = []
    futures = hanging.fill(threads, 2)
    waiting = threads.submit(partial(made.append, "waiting"))
    after = threads.submit(lambda: "after")

    threads.leave(waiting)
    threads.leave(futures[0])
    threads.leave(futures[0])

    assert after.result(LIMIT_SECONDS) == "after"
    with pytest.raises(CancelledError):
        waiting.result(LIMIT_SECONDS)
    assert made == []
    hanging.go_on.set()
    assert futures[0].result(LIMIT_SECONDS) == "done"
    threads.close()


def test_few_threads_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond these a call keeps its place until it ends."""
    monkeypatch.setattr(daemon_threads, "MAX_LEFT_THREADS", 2)
    threads, hanging = DaemonThreads(1, "test"), Hanging()
    for _ in range(3):
        threads.leave(hanging.fill(threads, 1)[0])
    after = threads.submit(lambda: "after")

    assert not after.done()
    hanging.go_on.set()

    assert after.result(LIMIT_SECONDS) == "after"
    threads.close()


@pytest.mark.parametrize("close", ["threads.close()", ""])
def test_a_process_ends_while_a_call_hangs(close: str) -> None:
    """Whether they were closed or not."""
    program = (
        "import threading\n"
        "from topicserve.backends.references.daemon_threads import DaemonThreads\n"
        "begun, threads = threading.Event(), DaemonThreads(1, 'test')\n"
        "threads.submit(lambda: (begun.set(), threading.Event().wait()))\n"
        f"begun.wait()\n{close}\nprint('end')\n"
    )

    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "end\n", "")
