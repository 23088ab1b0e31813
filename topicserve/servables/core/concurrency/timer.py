"""Calls things later, all from one thread."""

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

_logger = logging.getLogger(__name__)


class Timer(Protocol):
    """Calls things later, on one thread, in the order in which they are due.

    Any thread may call it, also under a lock. A callback that blocks holds up all others: it hands
    work to an executor.
    """

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Callable[[], bool]:
        """Call `callback` once, after so many seconds; it must be quick.

        Returns what cancels that: True when the callback has not been and will not be called.
        """


class TimerThread:
    """A timer on a monotonic clock. Its thread starts with the first call."""

    def __init__(self, name: str = "timer", clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        self._changed = threading.Condition()
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._pending: set[int] = set()
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Callable[[], bool]:
        """Call `callback` after so many seconds, unless cancelled or closed before."""
        with self._changed:
            number = next(self._numbers)
            heapq.heappush(self._calls, (self._clock() + seconds, number, callback))
            self._pending.add(number)
            if self._thread is None and not self._is_closed:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify()
        return lambda: self._cancel(number)

    def close(self) -> None:
        """Call nothing any more; return when no call is in progress."""
        with self._changed:
            self._is_closed = True
            self._calls.clear()
            self._pending.clear()
            self._changed.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _cancel(self, number: int) -> bool:
        with self._changed:
            if number not in self._pending:
                return False
            self._pending.remove(number)
            self._calls = [call for call in self._calls if call[1] != number]
            heapq.heapify(self._calls)
            return True

    def _run(self) -> None:
        while True:
            with self._changed:
                callback = self._wait_for_call()
            if callback is None:
                return
            try:
                callback()
            except Exception:
                _logger.exception("%s: a call failed", self._name)

    def _wait_for_call(self) -> Callable[[], None] | None:
        while not self._is_closed:
            if not self._calls:
                self._changed.wait()
                continue
            due = self._calls[0][0] - self._clock()
            if due <= 0:
                _, number, callback = heapq.heappop(self._calls)
                self._pending.discard(number)
                return callback
            self._changed.wait(due)
        return None
