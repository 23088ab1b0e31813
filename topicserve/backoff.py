"""The pauses between tries of what may succeed later: capped exponential back-off with jitter.

One value object for all of the project's retries; how long to go on is each caller's to decide.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

# 2.0**1024 overflows; no cap is that far from the first pause.
_MAX_EXPONENT = 64


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to pause after each failure. The caller counts the failures."""

    first_seconds: float
    """The pause after the first failure; each one is twice as long as the one before."""
    max_seconds: float
    """The longest pause."""
    jitter: float = 0.0
    """Each pause is shortened by a random share of up to this, from 0 to 1.

    It keeps many that lost the same server from coming back all at once.
    """

    def pause_seconds(self, failures: int) -> float:
        """Return the pause after so many failures, 1 or more."""
        due = self.first_seconds * 2.0 ** min(failures - 1, _MAX_EXPONENT)
        return min(due, self.max_seconds) * (1 - random.random() * self.jitter)

    def pause_within(self, failures: int, left_seconds: float) -> float | None:
        """Return the pause before a try that must end within what is left; None where none fits.

        It leaves half of the time for the try: the last tries follow one another faster.
        """
        if left_seconds <= self.first_seconds:
            return None
        return min(self.pause_seconds(failures), left_seconds / 2)

    def pauses(self) -> Iterator[float]:
        """Yield the pauses after 1, 2, 3, ... failures, without end."""
        return map(self.pause_seconds, count(1))
