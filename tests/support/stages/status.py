"""Numbers and statuses for the tests of the status page."""

from collections.abc import Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry

from topicserve.worker.http.pages import Page
from topicserve.worker.status.snapshot import Interval, Snapshot, take_snapshot
from topicserve.worker.status.stages import PREDICT
from topicserve.worker.telemetry.metrics import WorkerMetrics


class Numbers:
    """A worker's metrics, and snapshots of them at the seconds that a test says."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = WorkerMetrics(CollectorRegistry())
        self.now = 0.0
        self.predicted = 0.0
        """Seconds that batches have been predicted for."""

    def take(self, *, forget: bool = False) -> Snapshot:
        """Return the numbers of now."""
        return take_snapshot(self.metrics, self.now, {PREDICT: self.predicted}, forget=forget)

    def since(self, before: Snapshot, seconds: float) -> Interval:
        """Return what happened since a snapshot, so many seconds ago."""
        self.now = before.at + seconds
        return Interval(before, self.take())

    def behind(self, records: float, seconds: float, partition: int = 0) -> None:
        """Set a partition's lag."""
        self.metrics.consumer_lag_records.labels("in", str(partition)).set(records)
        self.metrics.consumer_lag_seconds.labels("in", str(partition)).set(seconds)


class SaidHealth:
    """A worker's health as a test wants it."""

    def __init__(self, live: Sequence[str] = (), ready: Sequence[str] = ()) -> None:
        self._live, self._ready = live, ready

    def live(self) -> Sequence[str]:
        return self._live

    def ready(self) -> Sequence[str]:
        return self._ready


class NoStatus:
    """The status pages of a worker that has nothing to show."""

    def html(self, query: str) -> Page:
        return Page(200, "text/html", query.encode())

    def json(self) -> Page:
        return Page(200, "application/json", b'{"schema": 1}')


def a_status(**changes: Any) -> dict[str, Any]:
    """Return a status as `/status.json` has it, of a worker that does little."""
    status: dict[str, Any] = {
        "schema": 1,
        "at": 1_000.0,
        "state": {"word": "idle", "sentence": "Idle.", "problems": [], "limited_by": None},
        "worker": {
            "release": "1",
            "worker_id": "w",
            "group": "g",
            "client": "confluent",
            "guarantee": "exactly_once",
            "started_at": 900.0,
            "uptime_seconds": 100.0,
            "memory_bytes": None,
            "threads": 9,
        },
        "window_seconds": 60.0,
        "rates": {
            "consumed_per_second": 0.0,
            "results_per_second": 12.0,
            "dead_letters_per_second": 3.0,
        },
        "latency": {"publish_to_result_seconds": {"p50": None, "p99": 0.25, "max": 0.5}},
        "stages": [
            {
                "name": "predict",
                "what": "calls",
                "busy_share": 0.875,
                "mean_seconds": 0.0125,
                "is_limiting": True,
            }
        ],
        "batches": {
            "per_second": 2.5,
            "mean_rows": None,
            "rows": [{"at_most": 8, "batches": 4}, {"at_most": None, "batches": 1}],
            "ended_by": {"rows": 5, "bytes": 0},
        },
        "in_flight": {
            "records": 7,
            "max_records": 16_384,
            "bytes": 2_048,
            "max_bytes": 67_108_864,
            "paused_partitions": 2,
        },
        "lag": {
            "records": 40,
            "seconds": 1.5,
            "partition_count": 1,
            "partitions": [{"topic": "in", "partition": 3, "records": 40, "seconds": 1.5}],
        },
        "servables": [],
        "dead_letters": {
            "topic": "dead",
            "replay_command": "topicserve dead-letters replay",
            "replay_needs": [],
            "total": 0,
            "by_reason": {},
            "newest": [],
        },
        "history": [],
        "configuration": {},
    }
    return {**status, **changes}


def a_point(at: float, **changes: Any) -> Mapping[str, Any]:
    """Return a point of the history as `/status.json` has it."""
    return {
        "at": at,
        "consumed_per_second": 0.0,
        "results_per_second": 0.0,
        "dead_letters_per_second": 0.0,
        "lag_records": 0.0,
        "lag_seconds": 0.0,
        "p50_seconds": None,
        "p99_seconds": None,
        **changes,
    }
