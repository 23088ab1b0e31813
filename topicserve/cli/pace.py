"""A bound on how many records a second a command publishes."""

import time
from collections.abc import Callable


class Pace:
    """Waits so that no more than so many records a second are published.

    Time that was not used is lost: after a pause no burst follows. One thread uses it.
    """

    def __init__(
        self,
        rate: float | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Without a `rate` nothing waits."""
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._next_at = clock()

    def wait(self, records: int) -> None:
        """Wait until so many records may go; without a rate return at once."""
        if self._rate is None:
            return
        now = self._clock()
        if self._next_at > now:
            self._sleep(self._next_at - now)
        self._next_at = max(self._next_at, now) + records / self._rate
