"""Whether the worker gets anywhere.

`/livez` asks it, so that a platform restarts a worker that holds records and finishes none.
"""

from collections.abc import Callable

from topicserve.worker.health.unavailable_servables import UnavailableServables
from topicserve.worker.offsets.tracker import OffsetTracker


class StallDetector:
    """When the worker last got somewhere: committed, had nothing to do, or found a servable away.

    The polling thread notes, HTTP threads ask. Each attribute is assigned at once: there is no
    lock, and nothing blocks.
    """

    def __init__(
        self,
        tracker: OffsetTracker,
        unavailable: UnavailableServables,
        clock: Callable[[], float],
    ) -> None:
        self._tracker = tracker
        self._unavailable = unavailable
        self._clock = clock
        self._at = self._turned_at = clock()
        self._committed = tracker.commits.count

    def note(self, *, is_paused: bool = False) -> None:
        """Look at the tracker; the polling thread does so at every turn.

        A worker that is paused on purpose gets nowhere, and a restart would not change that; nor
        would it where batches come back because a servable is not available.
        """
        self._turned_at = self._clock()
        committed = self._tracker.commits.count
        if is_paused or committed != self._committed or not self._tracker.in_flight_records:
            self._committed = committed
            self._at = self._clock()
        self._at = max(self._at, self._unavailable.noted_at)

    def turn_seconds(self) -> float:
        """Return how long ago the polling thread came round: a tenth of a second, or it is held."""
        return self._clock() - self._turned_at

    def stalled_seconds(self) -> float:
        """Return for how long records have waited with nothing committed, nor a servable away."""
        return self._clock() - self._at
