"""Makes metrics in one registry."""

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, Gauge

from topicserve.worker.telemetry.bulk_histogram import BulkHistogram
from topicserve.worker.telemetry.quick_metrics import Counter, Histogram


class Declare:
    """One method for each kind of metric; each returns a new one with this name and help text."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def counter(self, name: str, text: str, labels: Iterable[str] = ()) -> Counter:
        """Return a new counter; prometheus_client adds `_total` to its name."""
        return Counter(name, text, labels, registry=self._registry)

    def gauge(self, name: str, text: str, labels: Iterable[str] = ()) -> Gauge:
        """Return a new gauge."""
        return Gauge(name, text, labels, registry=self._registry)

    def histogram(
        self, name: str, text: str, labels: Iterable[str] = (), *, buckets: Sequence[float]
    ) -> Histogram:
        """Return a new histogram."""
        return Histogram(name, text, labels, buckets=buckets, registry=self._registry)

    def bulk_histogram(self, name: str, text: str, *, buckets: Sequence[float]) -> BulkHistogram:
        """Return a new histogram that counts many records at once."""
        return BulkHistogram(name, text, buckets=buckets, registry=self._registry)
