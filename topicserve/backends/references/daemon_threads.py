"""Daemon threads for calls that may hang: they keep no process from ending, and can be replaced."""

import atexit
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

R = TypeVar("R")

MAX_LEFT_THREADS = 64
"""Threads that may be left in a call; each is replaced by another."""
# A client's poll should not be cut off by the end of the interpreter. No call that hangs is waited
# for longer.
_LAST_CALLS_SECONDS = 1.0


@dataclass(slots=True, eq=False)
class _Job:
    call: Callable[[], Any]
    future: Future[Any]
    is_left: bool = False


class DaemonThreads:
    """Makes calls in the order in which they come, a few at once. Any thread may use it.

    As a ThreadPoolExecutor, but the end of the process waits for no call, and the thread of a call
    that no one waits for can be left.
    """

    def __init__(self, count: int, name: str) -> None:
        """Threads are started when they are needed."""
        self._count = count
        self._name = name
        self._changed = threading.Condition()
        self._jobs: deque[_Job] = deque()
        self._running: dict[Future[Any], _Job] = {}
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._left = 0
        self._is_closed = False

    def submit(self, call: Callable[[], R]) -> Future[R]:
        """Have a call made, and return the future of its result; RuntimeError once closed."""
        job = _Job(call, Future())
        with self._changed:
            if self._is_closed:
                raise RuntimeError(f"the threads {self._name} are closed")
            self._jobs.append(job)
            self._provide()
        return job.future

    def leave(self, future: Future[Any]) -> None:
        """Give the place of a call to the next one: no one waits for it any more.

        One that has not begun is not made. While MAX_LEFT_THREADS have not ended that were left, a
        further one keeps its place.
        """
        with self._changed:
            if future.cancel():
                return
            job = self._running.get(future)
            if job is None or job.is_left or self._left >= MAX_LEFT_THREADS:
                return
            job.is_left = True
            self._left += 1
            self._provide()

    @property
    def left_calls(self) -> int:
        """How many calls were left and have not returned."""
        return self._left

    def close(self) -> None:
        """Begin no more calls, and wait for none."""
        with self._changed:
            self._is_closed = True
            jobs, self._jobs = self._jobs, deque()
            self._changed.notify_all()
        for job in jobs:
            job.future.cancel()
        atexit.unregister(self._end)

    def _provide(self) -> None:
        """Have a thread for the jobs that wait."""
        if len(self._jobs) <= self._idle:
            self._changed.notify()
        elif len(self._threads) - self._left < self._count:
            if not self._threads:
                atexit.register(self._end)
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._threads.add(thread)
            thread.start()

    def _run(self) -> None:
        while (job := self._take()) is not None:
            if job.future.set_running_or_notify_cancel():
                _make(job)
            with self._changed:
                del self._running[job.future]
                if job.is_left:  # another thread has its place
                    self._left -= 1
                    break
        with self._changed:
            self._threads.discard(threading.current_thread())

    def _take(self) -> _Job | None:
        """Wait for a job; None once it is closed."""
        with self._changed:
            while not self._jobs:
                if self._is_closed:
                    return None
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
            job = self._jobs.popleft()
            self._running[job.future] = job
            return job

    def _end(self) -> None:
        """Let what is being done come to its end, for a moment."""
        self.close()
        until = time.monotonic() + _LAST_CALLS_SECONDS
        with self._changed:
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(until - time.monotonic(), 0.0))


def _make(job: _Job) -> None:
    with suppress(InvalidStateError):
        try:
            job.future.set_result(job.call())
        except BaseException as error:  # its caller is told
            job.future.set_exception(error)
