"""The numbers of one moment, and what they say about the time between two.

They are read from the metrics, so the status page and Prometheus never disagree.
"""

import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from topicserve.worker.telemetry.metrics import WorkerMetrics

_METRICS = (
    "batch_rows",
    "batch_wait_seconds",
    "batches",
    "commit_seconds",
    "consumer_lag_records",
    "consumer_lag_seconds",
    "dataref_fetch_seconds",
    "dead_letters",
    "in_flight_bytes",
    "in_flight_records",
    "metadata_seconds",
    "paused_partitions",
    "predict_seconds",
    "publish_to_result_seconds",
    "record_seconds",
    "records_consumed",
    "results_published",
)
"""Attributes of WorkerMetrics; a histogram's series have these names with an ending."""
_WITH_GREATEST = ("publish_to_result_seconds", "record_seconds")
_ENDINGS = ("_bucket", "_sum", "_count")

Series = tuple[Mapping[str, str], float]
"""The labels of a series and its value."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the counters, gauges and histograms said at one moment."""

    at: float
    """Seconds of a clock that never goes back."""
    series: Mapping[str, Sequence[Series]]
    cpu_seconds: Mapping[str, float] = field(default_factory=dict)
    """Processor time by thread name, where the system tells it."""
    greatest: Mapping[str, float] = field(default_factory=dict)
    """The greatest value that a histogram saw since this was last forgotten, where it is known."""
    busy_seconds: Mapping[str, float] = field(default_factory=dict)
    """Seconds that threads spent in a stage, by its name; calls that still run count as well."""

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of the series of a name that have these labels."""
        return sum(
            value for found, value in self.series.get(name, ()) if labels.items() <= found.items()
        )

    def by(self, name: str, label: str) -> dict[str, float]:
        """Return the sums of the series of a name, by one of their labels."""
        sums: dict[str, float] = {}
        for labels, value in self.series.get(name, ()):
            sums[labels[label]] = sums.get(labels[label], 0.0) + value
        return sums


def take_snapshot(
    metrics: WorkerMetrics,
    at: float,
    busy_seconds: Mapping[str, float] | None = None,
    *,
    forget: bool = False,
) -> Snapshot:
    """Return the numbers that the status page needs, and nothing else of the metrics.

    Where it is said so, the greatest values are forgotten: the next snapshot has those since.
    """
    series: dict[str, list[Series]] = {}
    for attribute in _METRICS:
        for family in getattr(metrics, attribute).collect():
            for sample in family.samples:
                ending = sample.name.removeprefix(family.name)
                if ending != "_created":
                    name = attribute + ending if ending in _ENDINGS else attribute
                    series.setdefault(name, []).append((sample.labels, sample.value))
    greatest = {name: getattr(metrics, name).greatest(forget=forget) for name in _WITH_GREATEST}
    return Snapshot(at, series, _cpu_seconds(), greatest, busy_seconds or {})


@dataclass(frozen=True, slots=True)
class Interval:
    """The time between two snapshots of one process."""

    before: Snapshot
    after: Snapshot
    greatest: Mapping[str, float] = field(default_factory=dict)
    """The greatest value that a histogram saw in that time, where it is known."""

    @property
    def seconds(self) -> float:
        """Return how long it is; never 0."""
        return max(self.after.at - self.before.at, 1e-9)

    def growth(self, name: str, **labels: str) -> float:
        """Return how much a counter grew; a series that is new grew from 0."""
        return max(self.after.total(name, **labels) - self.before.total(name, **labels), 0.0)

    def rate(self, name: str, **labels: str) -> float:
        """Return how much a counter grew in a second."""
        return self.growth(name, **labels) / self.seconds

    def mean(self, histogram: str) -> float | None:
        """Return the mean of what a histogram saw; None where it saw nothing."""
        count = self.growth(f"{histogram}_count")
        return self.growth(f"{histogram}_sum") / count if count else None

    def busy_share(self, histogram: str, threads: int = 1) -> float:
        """Return the share of the time that so many threads spent in what a histogram times."""
        return self.growth(f"{histogram}_sum") / self.seconds / threads

    def running_share(self, stage: str, threads: int = 1) -> float:
        """Return the share of the time that so many threads spent in a stage.

        A histogram times a call when it returns; this counts it while it runs.
        """
        after, before = self.after.busy_seconds, self.before.busy_seconds
        return (after.get(stage, 0.0) - before.get(stage, 0.0)) / self.seconds / threads

    def buckets(self, histogram: str) -> list[tuple[float, float]]:
        """Return each bucket's upper bound, and how often a value fell into that bucket alone."""
        after = self.after.by(f"{histogram}_bucket", "le")
        before = self.before.by(f"{histogram}_bucket", "le")
        found, below = [], 0.0
        for bound in sorted(after, key=float):
            upto = max(after[bound] - before.get(bound, 0.0), below)
            found.append((float(bound), upto - below))
            below = upto
        return found

    def quantile(self, histogram: str, share: float) -> float | None:
        """Return a quantile as Prometheus' histogram_quantile has it; None where nothing was seen.

        Within a bucket values are taken to lie evenly, and none above the greatest that was seen,
        where that is known. Where it is not, nothing is told beyond the last finite bound.
        """
        greatest = self.greatest.get(histogram, math.inf)
        buckets = self.buckets(histogram)
        wanted = share * sum(count for _, count in buckets)
        if not wanted:
            return None
        below, lower = 0.0, 0.0
        for bound, count in buckets:
            if below + count >= wanted and count:
                upper = min(bound, greatest)
                # The greatest is read a moment after the buckets, so it may be that of others.
                if math.isinf(upper) or upper <= lower:
                    return lower
                return min(lower + (bound - lower) * (wanted - below) / count, upper)
            below, lower = below + count, bound if math.isfinite(bound) else lower
        return lower

    def cpu_share(self, *threads: str) -> float | None:
        """Return the largest share of a processor that one of these threads took, by name prefix.

        None where the system does not tell.
        """
        shares = [
            (used - self.before.cpu_seconds.get(name, 0.0)) / self.seconds
            for name, used in self.after.cpu_seconds.items()
            if name.startswith(threads)
        ]
        return max(shares, default=None)


def _cpu_seconds() -> dict[str, float]:
    clock_id = getattr(time, "pthread_getcpuclockid", None)
    if clock_id is None:
        return {}
    used = {}
    for thread in threading.enumerate():
        if thread.ident is None:
            continue
        try:
            used[thread.name] = time.clock_gettime(clock_id(thread.ident))
        except OSError:  # it has ended since
            continue
    return used
