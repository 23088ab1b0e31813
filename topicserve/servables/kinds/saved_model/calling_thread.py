"""On which thread a session's call runs: the caller's while it is short, a pool's where it is long.

TensorFlow hands a call to the threads that all its sessions share, so that operations that do not
need each other run side by side. Handing over and back costs 100 microseconds and two wake-ups, and
a small network takes 15 (TF 2.21). Operations that use threads inside do so on either.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Run = Callable[..., list[Array]]

LONG_SECONDS = 0.001
"""The caller's own CPU in a call that is worth handing over: ten times what that costs."""
LONG_CALLS = 3
"""So many long ones in a row: the first call of a signature is slow, and says nothing."""


class CallingThread:
    """Calls one signature; any number of threads may do so at once.

    Calls are told apart by the size of their first input, in powers of two: a small batch stays
    with its caller beside large ones that do not.
    """

    def __init__(
        self,
        on_this_thread: Run,
        open_pool: Callable[[], Run],
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self._on_this_thread = on_this_thread
        self._open_pool = open_pool
        self._cpu_clock = cpu_clock
        self._lock = threading.Lock()
        self._pool: Run | None = None
        # Single operations on a dict: a count that is lost between two threads comes again.
        self._long_calls: dict[int, int] = {}

    def __call__(self, *feeds: Array) -> list[Array]:
        """Return the outputs; what the session raises passes."""
        size = np.size(feeds[0]).bit_length() if feeds else 0
        long_calls = self._long_calls.get(size, 0)
        if long_calls >= LONG_CALLS:
            return self._pooled()(*feeds)
        started = self._cpu_clock()
        found = self._on_this_thread(*feeds)
        if self._cpu_clock() - started > LONG_SECONDS:
            self._long_calls[size] = long_calls + 1
        elif long_calls:
            self._long_calls[size] = 0
        return found

    def _pooled(self) -> Run:
        with self._lock:  # a call is made ready once: it optimizes the graph
            if self._pool is None:
                self._pool = self._open_pool()
            return self._pool
