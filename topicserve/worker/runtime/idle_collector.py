"""Garbage that gathers while a worker has nothing to do."""

import gc
from collections.abc import Callable

IDLE_SECONDS = 10.0


class IdleCollector:
    """Collects young garbage while a worker has nothing to do. It belongs to one thread.

    Each poll of kafka-python that finds nothing leaves some 60 objects in cycles, and a busy
    worker's threshold lets half a million of them gather. A collection takes about as long as there
    are young objects, a few milliseconds, and none of it while a record is in flight.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._at = clock()

    def tick(self) -> None:
        """Collect, if that is due; to be called while nothing is in flight."""
        now = self._clock()
        if now - self._at >= IDLE_SECONDS:
            self._at = now
            gc.collect(0)
