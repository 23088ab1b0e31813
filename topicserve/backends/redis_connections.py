"""Redis connections that were used a moment ago, ready to be used again.

redis-py's pool looks at a connection each time that it gives one: whether the server has closed it,
or has sent something that was not asked for. That is a system call and some forty functions for one
MGET. Here it is done once a second for each connection.
"""

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from topicserve.backends.own_process import this_process

CHECKED_SECONDS = 1.0
"""A connection that the pool has looked at within this time is used without another look."""


class Taken(NamedTuple):
    """A connection in use."""

    connection: Any
    checked_at: float
    process: int
    """The one that it was taken in: a child of it must not use the parent's connection."""


class RecentConnections:
    """Takes connections from a pool, and keeps those that are given back. Thread-safe.

    What is kept counts as in use for the pool, which may be bounded: `release_all` gives it back.
    """

    def __init__(self, pool: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._clock = clock
        # Its append and pop are atomic. The last one is used first.
        self._kept: deque[Taken] = deque()

    def take(self) -> Taken:
        """Return a connection that is open and has nothing to read; raises what the pool does."""
        with suppress(IndexError):
            taken = self._kept.pop()
            if taken.process == this_process():
                if self._clock() - taken.checked_at < CHECKED_SECONDS:
                    return taken
                self._pool.release(taken.connection)
        return Taken(self._pool.get_connection(), self._clock(), this_process())

    def give_back(self, taken: Taken) -> None:
        """Keep a connection on which everything that was asked is answered."""
        self._kept.append(taken)

    def discard(self, taken: Taken) -> None:
        """Close a connection that failed, or on which an answer may still come.

        What else is kept may have failed too: the pool looks at each before it is used again.
        """
        taken.connection.disconnect()
        self._pool.release(taken.connection)
        self.release_all()

    def release_all(self) -> None:
        """Give everything that is kept back to the pool."""
        with suppress(IndexError):
            while True:
                taken = self._kept.pop()
                if taken.process == this_process():
                    self._pool.release(taken.connection)
