"""Calls of a store's client, which may have no time limit of its own, or too long a one."""

import weakref
from collections.abc import Callable
from concurrent.futures import wait

from topicserve.backends.references.daemon_threads import MAX_LEFT_THREADS, DaemonThreads
from topicserve.backends.references.errors import BodyStoreError
from topicserve.worker.runtime.retry import RetryLoop

# How often a caller looks whether the worker gives up.
_LOOK_SECONDS = 0.2


class StoreCalls:
    """Makes each call on another thread, and leaves it behind once its time is over.

    Any thread may call it, and waits meanwhile.
    """

    def __init__(self, retry_loop: RetryLoop, clock: Callable[[], float]) -> None:
        self._retry_loop = retry_loop
        self._clock = clock
        # Callers are few; with more of them than places, one would wait for another's call.
        self._threads = DaemonThreads(MAX_LEFT_THREADS, "topicserve-store")
        weakref.finalize(self, self._threads.close)

    def call(self, work: Callable[[], None], timeout_seconds: float) -> None:
        """Return when the work is done; raises what it raises, or BodyStoreError for its time.

        Raises ShutdownRequestedError once the worker gives up, and BodyStoreError where so many
        calls have not returned that no other is made. What is left behind may still be done later.
        """
        left = self._threads.left_calls
        if left >= MAX_LEFT_THREADS:
            raise BodyStoreError(f"{left} earlier calls have not returned")
        until = self._clock() + timeout_seconds
        made = self._threads.submit(work)
        while not wait((made,), min(max(until - self._clock(), 0), _LOOK_SECONDS)).done:
            if self._clock() >= until:
                self._threads.leave(made)
                raise BodyStoreError(f"no answer for {timeout_seconds:.3g} s")
            self._retry_loop.pause(0)
        made.result()

    def close(self) -> None:
        """Make no more calls, and wait for none."""
        self._threads.close()
