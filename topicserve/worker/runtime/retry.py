"""Growing pauses between tries of what may pass by itself."""

import random
import threading
from collections.abc import Iterator

from topicserve.errors import TopicserveError

FIRST_PAUSE_SECONDS = 0.05


def pauses(max_pause_seconds: float, random_share: float = 0.2) -> Iterator[float]:
    """Yield pauses without end: doubling up to the limit, each shortened by a random share.

    The random share keeps replicas from coming back all at once.
    """
    pause = FIRST_PAUSE_SECONDS
    while True:
        yield min(pause, max_pause_seconds) * (1 - random.random() * random_share)
        pause = min(pause * 2, max_pause_seconds)


class ShutdownRequestedError(TopicserveError):
    """The work at hand is no longer wanted: the worker gives up, or its partitions are gone."""


class RetryLoop:
    """How stages wait for what is away: for as long as it takes, but never past `shut_down`."""

    def __init__(self, max_pause_seconds: float) -> None:
        self._max_pause_seconds = max_pause_seconds
        self._given_up = threading.Event()

    def shut_down(self) -> None:
        """End all waiting, now and from now on."""
        self._given_up.set()

    def tries(self) -> Iterator[int]:
        """Yield 0, 1, 2, ... with growing pauses between.

        Raises ShutdownRequestedError once the loop is shut down.
        """
        for attempt, pause in enumerate(pauses(self._max_pause_seconds)):
            if self._given_up.is_set():
                raise ShutdownRequestedError
            yield attempt
            if self._given_up.wait(pause):
                raise ShutdownRequestedError
