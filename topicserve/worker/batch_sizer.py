"""How large a batch may be."""

from topicserve.worker.request import Route

# Records name signatures, versions and labels: more routes than this are not remembered.
REMEMBERED_ROUTES = 1024


class BatchSizer:
    """Learns how many rows a servable predicts within the target latency.

    Keeps a moving average of the cost of a row, with a call's fixed cost in it: small batches look
    dear, so the limit grows while batches are cheap and shrinks after a slow one.
    """

    NEWEST_SHARE = 0.3

    def __init__(self, max_batch_size: int, target_latency_seconds: float) -> None:
        self._max_batch_size = max_batch_size
        self._target_seconds = target_latency_seconds
        self._limits: dict[Route, float] = {}

    def limit(self, route: Route) -> int:
        """Return how many rows a batch on this route may have; at least one."""
        if self._target_seconds <= 0:
            return self._max_batch_size
        return max(1, int(self._limits.get(route, min(32, self._max_batch_size))))

    def observe(self, route: Route, rows: int, seconds: float) -> None:
        """Note what a batch cost to predict."""
        if self._target_seconds <= 0 or rows == 0:
            return
        before = self._limits.get(route, float(min(32, self._max_batch_size)))
        fits = rows * self._target_seconds / max(seconds, 1e-6)
        # A batch smaller than the limit says little about larger ones: at most double.
        after = before + self.NEWEST_SHARE * (min(fits, before * 2) - before)
        self._limits[route] = min(max(after, 1.0), float(self._max_batch_size))
        if len(self._limits) > REMEMBERED_ROUTES:
            del self._limits[next(iter(self._limits))]

    @property
    def remembered(self) -> int:
        """Return of how many routes something was learned."""
        return len(self._limits)
