"""Which batches are being predicted, and for how long."""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

from topicserve.worker.stages.request import Batch


class PredictWatch:
    """Batch threads say what they predict; the polling thread asks what does not return.

    One entry a thread; dicts are read and written at once, so there is no lock.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._running: dict[int, tuple[float, Batch]] = {}

    @contextmanager
    def predicting(self, batch: Batch) -> Generator[None]:
        """Say for the block that this thread predicts the batch."""
        thread = threading.get_ident()
        self._running[thread] = self._clock(), batch
        try:
            yield
        finally:
            del self._running[thread]

    def running_for(self, seconds: float) -> list[Batch]:
        """Return the batches that have been predicted for longer than this."""
        if not self._running:
            return []
        limit = self._clock() - seconds
        return [batch for started, batch in list(self._running.values()) if started < limit]
