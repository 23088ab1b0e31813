"""How many rows a call may have, learnt from calls that had too many."""

from collections.abc import Callable


class SizeLimit:
    """Halves with each call that had too many, and doubles after some time without one.

    The caller holds a lock.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._units: int | None = None
        self._refused = 0
        self._seconds = 0.0
        self._grows_at = 0.0

    def __bool__(self) -> bool:
        """Return whether there is a limit."""
        return self._units is not None

    def halve(self, units: int, seconds: float) -> None:
        """Note that so many were too many; `seconds` are the time after which more are tried."""
        self._units = max(units // 2, 1)
        self._refused = max(self._refused, units)
        self._seconds = seconds
        self._grows_at = self._clock() + seconds

    def of(self, units: int) -> int:
        """Return how many of these may go in one call."""
        while self._units is not None and self._clock() >= self._grows_at:
            self._units *= 2
            self._grows_at += self._seconds
            if self._units >= self._refused:
                self.drop()
        return units if self._units is None else min(units, self._units)

    def drop(self) -> None:
        """Forget it."""
        self._units, self._refused = None, 0
