"""Growing pauses between tries of what may pass by itself.

For a store, a servable or a broker that is away. A stop ends every pause at once, with
ShutdownRequestedError.
"""

import threading
from collections.abc import Iterator

from topicserve.backoff import Backoff
from topicserve.errors import TopicserveError

FIRST_PAUSE_SECONDS = 0.05
JITTER = 0.2


class ShutdownRequestedError(TopicserveError):
    """The work at hand is no longer wanted: the worker gives up, or its partitions are gone."""


class RetryLoop:
    """How stages wait for what is away: for as long as it takes, but never past `shut_down`."""

    def __init__(self, max_pause_seconds: float) -> None:
        self.backoff = Backoff(FIRST_PAUSE_SECONDS, max_pause_seconds, JITTER)
        self._given_up = threading.Event()

    def shut_down(self) -> None:
        """End all waiting, now and from now on."""
        self._given_up.set()

    def pause(self, seconds: float) -> None:
        """Wait so long; raises ShutdownRequestedError once the loop is shut down."""
        if self._given_up.wait(seconds):
            raise ShutdownRequestedError

    def tries(self) -> Iterator[int]:
        """Yield 0, 1, 2, ... with growing pauses between.

        Raises ShutdownRequestedError once the loop is shut down.
        """
        self.pause(0)
        yield 0  # nearly always enough: pauses are worked out for what failed alone
        for attempt, pause in enumerate(self.backoff.pauses(), 1):
            self.pause(pause)
            yield attempt
