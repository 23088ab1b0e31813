"""Calls of a store's client, which may have no time limit of its own, or too long a one."""

import threading
from collections.abc import Callable

from topicserve.backends.references.errors import BodyStoreError
from topicserve.worker.runtime.retry import RetryLoop

MAX_LOST_CALLS = 64
"""Calls that may be left behind, each with its thread, before no other is made."""
# How often a caller looks whether the worker gives up.
_LOOK_SECONDS = 0.2


class StoreCalls:
    """Makes each call on a thread of its own, and leaves it behind once its time is over.

    Any thread may call it, and waits meanwhile.
    """

    def __init__(self, retry_loop: RetryLoop, clock: Callable[[], float]) -> None:
        self._retry_loop = retry_loop
        self._clock = clock
        self._lock = threading.Lock()
        self._lost = 0

    def call(self, work: Callable[[], None], timeout_seconds: float) -> None:
        """Return when the work is done; raises what it raises, or BodyStoreError for its time.

        Raises ShutdownRequestedError once the worker gives up. What is left behind may still be
        done later.
        """
        if self._lost >= MAX_LOST_CALLS:
            raise BodyStoreError(f"{self._lost} earlier calls have not returned")
        one = _Call(work, self._found_again)
        threading.Thread(target=one.run, name="topicserve-store", daemon=True).start()
        until = self._clock() + timeout_seconds
        while not one.done.wait(min(max(until - self._clock(), 0), _LOOK_SECONDS)):
            is_over = self._clock() >= until
            if is_over and one.leave():
                with self._lock:
                    self._lost += 1
                raise BodyStoreError(f"no answer for {timeout_seconds:.3g} s")
            self._retry_loop.pause(0)
        if one.error is not None:
            raise one.error

    def _found_again(self) -> None:
        with self._lock:
            self._lost -= 1


class _Call:
    """One call: either it ends first, or its caller leaves it behind."""

    def __init__(self, work: Callable[[], None], on_late: Callable[[], None]) -> None:
        self._work = work
        self._on_late = on_late
        self._lock = threading.Lock()
        self._is_left = False
        self.done = threading.Event()
        self.error: BaseException | None = None

    def leave(self) -> bool:
        """Leave it behind; False where it has ended."""
        with self._lock:
            self._is_left = not self.done.is_set()
            return self._is_left

    def run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # its caller's to judge
            self.error = error
        with self._lock:
            self.done.set()
            is_late = self._is_left
        if is_late:
            self._on_late()
