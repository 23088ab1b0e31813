"""Puts together what the status page shows, as one object that is JSON.

Its form is in docs/status.md. `schema` goes up when a field changes its meaning or goes away.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from topicserve.servables.core.errors import NotFoundError
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_state import ManagerState
from topicserve.servables.server.server_core import ServerCore
from topicserve.worker.config.schema import WorkerConfig
from topicserve.worker.config.served import CanaryConfig, ShadowConfig
from topicserve.worker.health.dead_letter_log import DeadLetterLog
from topicserve.worker.http.pages import Health, Page, json_page
from topicserve.worker.stages.predict import PredictWatch
from topicserve.worker.status.history import History, Lag
from topicserve.worker.status.page import status_page
from topicserve.worker.status.replay_command import replay_command, replay_secrets
from topicserve.worker.status.snapshot import Interval, Snapshot, take_snapshot
from topicserve.worker.status.stages import PREDICT, StageLoad, limiting_stage, stage_loads
from topicserve.worker.status.state import Waits, WorkerState, judge
from topicserve.worker.telemetry.metrics import WorkerMetrics

SCHEMA = 1
MAX_PARTITIONS = 200
"""As many are listed, those that are farthest behind first; all are counted."""
_LAG = "consumer_lag_records"
_LATENCIES = {
    "publish_to_result_seconds": "publish_to_result_seconds",
    "poll_to_acknowledgement_seconds": "record_seconds",
}


@dataclass(frozen=True, slots=True)
class Watched:
    """What the status is about. All of it may be asked by any thread, and answers at once."""

    config: WorkerConfig
    build: Mapping[str, Any]
    """Release, worker_id, group, client and guarantee."""
    health: Health
    core: ServerCore
    dead_letters: DeadLetterLog
    metrics: WorkerMetrics
    predictions: PredictWatch
    turn_seconds: Callable[[], float]
    """How long ago the polling thread came round."""
    unanswered_seconds: Callable[[], float]
    """For how long no broker has answered; 0 while all that is asked is answered."""
    configuration: Mapping[str, str]
    """The effective configuration without secrets, by key."""


class StatusReport:
    """Answers with the status of this worker. Any thread may call it."""

    def __init__(
        self,
        watched: Watched,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._watched = watched
        self._clock = clock
        self._wall_clock = wall_clock
        self._started_at = wall_clock()
        self._history = History(self._take, wall_clock)

    def _take(self, *, forget: bool = False) -> Snapshot:
        busy = {PREDICT: self._watched.predictions.busy_seconds()}
        return take_snapshot(self._watched.metrics, self._clock(), busy, forget=forget)

    def start(self) -> None:
        """Begin to sample."""
        self._history.start()

    def close(self) -> None:
        """Stop sampling."""
        self._history.close()

    def html(self, query: str) -> Page:
        """Return the status page; the query `refresh=off` makes one that stays as it is."""
        status = self.get()
        state, name = status["state"], str(self._watched.build["worker_id"])
        refreshes = query != "refresh=off"
        return status_page(state["sentence"], state["word"], {name: status}, refreshes=refreshes)

    def json(self) -> Page:
        """Return the status as JSON."""
        return json_page(200, self.get())

    def get(self) -> dict[str, Any]:
        """Return the whole status: numbers, texts, lists and objects alone."""
        watched, now = self._watched, self._wall_clock()
        since, points = self._history.last_minute(), self._history.points()
        dataref = watched.config.dataref
        threads = dataref.threads if dataref.allow else 0
        loads = stage_loads(since, watched.config.batching.predict_threads, threads)
        partitions = _partitions(since)
        lags = [*self._history.lags(), Lag(since.after.at, since.after.total(_LAG))]
        state = judge(watched.health, since, lags, limiting_stage(loads), self._waits())
        return {
            "schema": SCHEMA,
            "at": now,
            "state": asdict(state),
            "worker": {
                **watched.build,
                "started_at": self._started_at,
                "uptime_seconds": now - self._started_at,
                "memory_bytes": _memory_bytes(),
                "threads": threading.active_count(),
            },
            "window_seconds": since.seconds,
            "rates": _rates(since),
            "latency": {name: _quantiles(since, of) for name, of in _LATENCIES.items()},
            "stages": [_stage(load, state) for load in loads],
            "batches": _batches(since),
            "in_flight": {
                "records": since.after.total("in_flight_records"),
                "max_records": watched.config.batching.max_in_flight_records,
                "bytes": since.after.total("in_flight_bytes"),
                "max_bytes": watched.config.batching.max_in_flight_bytes,
                "paused_partitions": since.after.total("paused_partitions"),
            },
            "lag": {
                "records": since.after.total(_LAG),
                "seconds": max((one["seconds"] for one in partitions), default=0.0),
                "partition_count": len(partitions),
                "partitions": partitions[:MAX_PARTITIONS],
            },
            "servables": [self._servable(name) for name in sorted(watched.core.servable_names())],
            "dead_letters": self._dead_letters(since),
            "history": [asdict(point) for point in points],
            "configuration": dict(watched.configuration),
        }

    def _waits(self) -> Waits:
        watched = self._watched
        return Waits(
            watched.turn_seconds(), watched.unanswered_seconds(), *watched.predictions.longest()
        )

    def _servable(self, name: str) -> dict[str, Any]:
        core = self._watched.core
        routing = next((one for one in self._watched.config.servables if one.name == name), None)
        default = core.default_version(name)
        labels = core.labels(name)
        return {
            "name": name,
            "default_version": default,
            "problem": core.problem(name) if default is None else core.source_problem(name),
            "labels": dict(labels),
            "canary": _side(routing.canary if routing else None),
            "shadow": _side(routing.shadow if routing else None),
            "versions": self._versions(name),
        }

    def _versions(self, name: str) -> list[dict[str, Any]]:
        """Return the states that /v1/models tells, each with its time."""
        core = self._watched.core
        try:
            statuses = core.model_status(name)["model_version_status"]
        except NotFoundError:  # none is known yet, or any more
            return []
        found = []
        for status in statuses:
            version = int(status["version"])
            known = core.monitor.state_and_time(ServableId(name, version))
            is_available = known is not None and known.event.manager_state is ManagerState.AVAILABLE
            found.append(
                {
                    "version": version,
                    "state": status["state"],
                    "age_seconds": None if known is None else self._clock() - known.time_seconds,
                    "load_seconds": known.event.seconds if known and is_available else None,
                    "error": status["status"]["error_message"],
                }
            )
        return found

    def _dead_letters(self, since: Interval) -> dict[str, Any]:
        by_reason = since.after.by("dead_letters", "reason")
        config = self._watched.config
        return {
            "topic": config.dead_letter_topic,
            "replay_command": replay_command(config),
            "replay_needs": replay_secrets(config),
            "total": sum(by_reason.values()),
            "by_reason": {reason: count for reason, count in by_reason.items() if count},
            "newest": [
                {**asdict(one), "reason": one.reason.value}
                for one in self._watched.dead_letters.newest()
            ],
        }


def _memory_bytes() -> int | None:
    """Return the resident memory of this process; None where the system does not tell it."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def _rates(since: Interval) -> dict[str, float]:
    return {
        "consumed_per_second": since.rate("records_consumed"),
        "results_per_second": since.rate("results_published"),
        "dead_letters_per_second": since.rate("dead_letters"),
    }


def _quantiles(since: Interval, histogram: str) -> dict[str, float | None]:
    return {
        "p50": since.quantile(histogram, 0.5),
        "p99": since.quantile(histogram, 0.99),
        "max": since.greatest.get(histogram) or None,
    }


def _stage(load: StageLoad, state: WorkerState) -> dict[str, Any]:
    return {**asdict(load), "is_limiting": load.name == state.limited_by}


def _batches(since: Interval) -> dict[str, Any]:
    ends = since.after.by("batches", "ended_by")
    return {
        "per_second": since.rate("batches"),
        "mean_rows": since.mean("batch_rows"),
        "rows": [
            {"at_most": None if bound == float("inf") else bound, "batches": count}
            for bound, count in since.buckets("batch_rows")
        ],
        "ended_by": {end: since.growth("batches", ended_by=end) for end in sorted(ends)},
    }


def _partitions(since: Interval) -> list[dict[str, Any]]:
    """Return the partitions that are assigned, the one that is farthest behind first."""
    seconds = {
        (labels["topic"], labels["partition"]): value
        for labels, value in since.after.series.get("consumer_lag_seconds", ())
    }
    found = [
        {
            "topic": labels["topic"],
            "partition": int(labels["partition"]),
            "records": value,
            "seconds": seconds.get((labels["topic"], labels["partition"]), 0.0),
        }
        for labels, value in since.after.series.get("consumer_lag_records", ())
    ]
    return sorted(found, key=lambda one: (-one["records"], one["topic"], one["partition"]))


def _side(side: CanaryConfig | ShadowConfig | None) -> dict[str, Any] | None:
    if side is None:
        return None
    return {"share": side.share, "version": side.version, "label": side.label}
