"""How large a batch may be."""

from dataclasses import dataclass

from topicserve.worker.stages.request import Route

# Records name signatures, versions and labels: more routes than this are not remembered.
REMEMBERED_ROUTES = 1024


@dataclass(slots=True)
class _Seen:
    """What batches on a route were like."""

    rows: int = 0
    """The most rows that one had."""
    result_bytes_a_row: float = 0.0
    cost_of_a_row: float = 0.0
    """A moving average."""


class BatchSizer:
    """Learns how many rows a servable predicts within the target latency, and what it answers.

    Keeps a moving average of the cost of a row, with a call's fixed cost in it: small batches look
    dear, so the limit grows while batches are cheap and shrinks after a slow one.

    The results of a batch, with their metadata, are to take `max_result_bytes` at most. How large
    they are is only known afterwards, so the first batch on a route has FIRST_ROWS, and each one
    after it GROWTH times what was seen before. 0: they are not bounded.

    What rows cost a servable that says so is known before they are predicted, but not before their
    batch is cut. Cut by what the batches before had, a batch seldom has rows that it must leave.
    """

    NEWEST_SHARE = 0.3
    FIRST_ROWS = 1
    GROWTH = 8
    # What large results are forgotten by with each batch of smaller ones.
    KEPT_SHARE = 0.9

    def __init__(
        self, max_batch_size: int, target_latency_seconds: float, max_result_bytes: int = 0
    ) -> None:
        self._max_batch_size = max_batch_size
        self._target_seconds = target_latency_seconds
        self._max_result_bytes = max_result_bytes
        self._limits: dict[Route, float] = {}
        self._seen: dict[Route, _Seen] = {}

    def limit(self, route: Route) -> int:
        """Return how many rows a batch on this route may have; at least one."""
        limit = min(self._limit_by_results(route), self._limit_by_cost(route))
        if self._target_seconds > 0:
            limit = min(limit, int(self._limits.get(route, min(32, self._max_batch_size))))
        return max(limit, 1)

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

    def observe_results(self, route: Route, rows: int, result_bytes: int) -> None:
        """Note how large a batch's results are."""
        if self._max_result_bytes <= 0 or rows == 0:
            return
        seen = self._newest(route)
        seen.rows = max(seen.rows, rows)
        before = seen.result_bytes_a_row * self.KEPT_SHARE
        seen.result_bytes_a_row = max(before, result_bytes / rows)

    def observe_cost(self, route: Route, rows: int, cost: float) -> None:
        """Note what a batch's rows cost the servable, of the 1.0 that a batch may."""
        if rows:
            seen = self._newest(route)
            before = seen.cost_of_a_row or cost / rows
            seen.cost_of_a_row = before + self.NEWEST_SHARE * (cost / rows - before)

    def _limit_by_results(self, route: Route) -> int:
        if self._max_result_bytes <= 0:
            return self._max_batch_size
        seen = self._seen.get(route)
        if seen is None:
            return min(self.FIRST_ROWS, self._max_batch_size)
        limit = min(seen.rows * self.GROWTH, self._max_batch_size)
        return min(limit, int(self._max_result_bytes / max(seen.result_bytes_a_row, 1.0)))

    def _limit_by_cost(self, route: Route) -> int:
        seen = self._seen.get(route)
        if seen is None or not seen.cost_of_a_row:
            return self._max_batch_size
        return min(int(1 / seen.cost_of_a_row), self._max_batch_size)

    def _newest(self, route: Route) -> _Seen:
        seen = self._seen.pop(route, None) or _Seen()
        self._seen[route] = seen
        if len(self._seen) > REMEMBERED_ROUTES:
            self._seen.pop(next(iter(self._seen)), None)
        return seen

    @property
    def remembered(self) -> int:
        """Return of how many routes something was learned."""
        return max(len(self._limits), len(self._seen))
