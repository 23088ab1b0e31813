"""Calls fail at once for a while where a server hangs: accepts them, and answers none.

A thread that waits for it answers no other servable meanwhile, and results of the same partitions
wait for their turn.
"""

import math
import threading
from collections.abc import Callable

from topicserve.servables.core.errors import ServableError, UnavailableError

# What a call takes that is counted. One that is refused in less holds up no one.
LONG_SECONDS = 1.0
# So many in a row are not the fault of their rows: a row on which the server hangs is asked for
# between others.
HANGS = 2
PAUSE_A_SECOND, MAX_PAUSE_SECONDS = 3.0, 30.0


class HangPause:
    """Tells which calls are made. Any number of threads may call it.

    Once calls in a row were not answered, none is made for three times as long as the last one
    took. Then one is, and the others wait for what becomes of it.
    """

    def __init__(self, clock: Callable[[], float], timeout_seconds: float) -> None:
        """`timeout_seconds` is how long a call may take."""
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._lock = threading.Lock()
        self._hangs = 0
        self._not_before = -math.inf
        self._error: ServableError | None = None

    def admit(self) -> None:
        """Raise UnavailableError while no call is to be made."""
        with self._lock:
            if self._hangs < HANGS:
                return
            if self._clock() < self._not_before:
                raise UnavailableError(
                    f"{self._error} (it hangs, and is asked again after a pause)"
                ) from self._error
            self._not_before = self._clock() + self._timeout_seconds

    def note_hang(self, seconds: float, error: ServableError) -> None:
        """Note that a call was not answered in so many seconds."""
        if seconds < LONG_SECONDS:
            return
        with self._lock:
            self._hangs += 1
            pause = min(PAUSE_A_SECOND * seconds, MAX_PAUSE_SECONDS)
            self._not_before, self._error = self._clock() + pause, error

    def end(self) -> None:
        """Note that the server answered, or refused a call."""
        with self._lock:
            self._hangs = 0
