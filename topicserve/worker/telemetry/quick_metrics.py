"""prometheus_client's counters and histograms, for one update with each batch.

The library checks the labels' number, turns each into text and takes a lock to find a child, and
looks at a histogram's buckets one by one: a third of a lone record's metrics is that.
"""

from bisect import bisect_left
from typing import Any, Self

import prometheus_client


class _Children(prometheus_client.metrics.MetricWrapperBase):
    """Remembers the children that were asked for."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._known: dict[tuple[object, ...], Self] = {}
        super().__init__(*args, **kwargs)

    def labels(self, *labelvalues: object, **labelkwargs: object) -> Self:
        """Return the child of these labels."""
        child = self._known.get(labelvalues)
        if child is None or labelkwargs:
            child = super().labels(*labelvalues, **labelkwargs)
            if not labelkwargs:
                self._known[labelvalues] = child
        return child

    def remove(self, *labelvalues: Any) -> None:
        """Show the child of these labels no more."""
        self._known.pop(labelvalues, None)
        super().remove(*labelvalues)


class Counter(_Children, prometheus_client.Counter):
    """The library's counter."""


class Histogram(_Children, prometheus_client.Histogram):
    """The library's histogram."""

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        """Observe an amount."""
        if exemplar is not None:
            super().observe(amount, exemplar)
            return
        self._sum.inc(amount)
        self._buckets[bisect_left(self._upper_bounds, amount)].inc(1)
