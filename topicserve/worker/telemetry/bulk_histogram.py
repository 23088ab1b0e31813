"""A Prometheus histogram that counts many equal observations in one call."""

import threading
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

FEW = 4
"""As many are counted faster one by one than by numpy."""


class BulkHistogram(Collector):
    """Observes a value for a number of records at once: one lock a batch, not one a record."""

    def __init__(
        self,
        name: str,
        documentation: str,
        buckets: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._bounds = [*buckets, float("inf")]
        self._bounds_array = np.array(self._bounds)
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0
        self._greatest = 0.0
        self._lock = threading.Lock()
        registry.register(self)

    def observe(self, value: float, count: int = 1) -> None:
        """Count a value as often as it was seen."""
        with self._lock:
            self._counts[bisect_left(self._bounds, value)] += count
            self._sum += value * count
            self._greatest = max(self._greatest, value)

    def observe_each(self, values: Sequence[float] | NDArray[np.float64]) -> None:
        """Count values, each its own; many in one step."""
        if len(values) <= FEW:
            for value in values:
                self.observe(float(value))
            return
        values = np.asarray(values)
        buckets = np.searchsorted(self._bounds_array, values)
        counts = np.bincount(buckets, minlength=len(self._bounds)).tolist()
        greatest = float(values.max(initial=0.0))
        with self._lock:
            self._counts = [old + new for old, new in zip(self._counts, counts, strict=True)]
            self._sum += float(values.sum())
            self._greatest = max(self._greatest, greatest)

    def greatest(self, *, forget: bool = False) -> float:
        """Return the greatest value since it was last forgotten; 0 where there was none.

        Buckets do not tell it, and a quantile that is reckoned from them may lie above it.
        """
        with self._lock:
            found = self._greatest
            if forget:
                self._greatest = 0.0
        return found

    def collect(self) -> Iterable[Metric]:
        """Return the histogram as it stands; the registry calls this."""
        with self._lock:
            counts, total = list(accumulate(self._counts)), self._sum
        names = [*map(str, self._bounds[:-1]), "+Inf"]
        buckets = [(name, float(count)) for name, count in zip(names, counts, strict=True)]
        yield HistogramMetricFamily(
            self._name, self._documentation, buckets=buckets, sum_value=total
        )
