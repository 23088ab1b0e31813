"""What Prometheus has scraped of workers, minute by minute, as `promtool test rules` takes it."""

from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry

from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_state import ManagerState, ServableState
from topicserve.worker.telemetry.metrics import WorkerMetrics
from topicserve.worker.telemetry.servable_metrics import ServableMetrics
from topicserve.worker.telemetry.supervisor_metrics import SupervisorMetrics

MINUTES = 60
WORKER = {"job": "topicserve", "instance": "worker:1"}
SUPERVISOR = {"job": "topicserve", "instance": "supervisor:1"}


def series_name(name: str, labels: Mapping[str, str]) -> str:
    """Return a series as promtool writes it, its labels in order."""
    pairs = ",".join(f'{label}="{labels[label]}"' for label in sorted(labels))
    return f"{name}{{{pairs}}}"


class Scraped:
    """A healthy worker and a healthy supervisor, with every series that each has from its start."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self._add(_worker_registry(), WORKER)
        replicas = CollectorRegistry()
        supervisor = SupervisorMetrics(replicas, replicas=2)
        for number in ("0", "1"):
            supervisor.replica_up.labels(number).set(1)
        replicas.register(supervisor.replica_up)
        self._add(replicas, SUPERVISOR)
        self.set("topicserve_commits_total", f"0+60x{MINUTES}", outcome="committed")
        self.set("topicserve_metadata_lookups_total", f"0+600x{MINUTES}", status="found")
        self.set("topicserve_in_flight_records", f"50x{MINUTES}")

    def set(
        self, name: str, values: str, target: Mapping[str, str] = WORKER, **labels: str
    ) -> None:
        """Give a series that is there from the start other values."""
        key = series_name(name, {**target, **labels})
        assert key in self.values, f"{key} is not there from the start"
        self.values[key] = values

    def add(
        self, name: str, values: str, target: Mapping[str, str] = WORKER, **labels: str
    ) -> None:
        """Add a series that comes later, or that depends on the partitions assigned."""
        self.values[series_name(name, {**target, **labels})] = values

    def end(self, minute: int) -> None:
        """Have all targets vanish."""
        for key in self.values:
            self.values[key] = f"1x{minute} _x{MINUTES - minute}"

    def firing(self, names: Iterable[str], minute: int) -> dict[str, Any]:
        """Return promtool's test that exactly these alerts fire at a minute."""
        return {
            "interval": "1m",
            "input_series": [
                {"series": key, "values": values} for key, values in self.values.items()
            ],
            "promql_expr_test": [
                {
                    "expr": 'group by (alertname) (ALERTS{alertstate="firing"})',
                    "eval_time": f"{minute}m",
                    "exp_samples": [
                        {"labels": f'{{alertname="{name}"}}', "value": 1} for name in names
                    ],
                }
            ],
        }

    def _add(self, registry: CollectorRegistry, target: Mapping[str, str]) -> None:
        self.values[series_name("up", target)] = f"1x{MINUTES}"
        for family in registry.collect():
            for sample in family.samples:
                key = series_name(sample.name, {**sample.labels, **target})
                self.values[key] = f"{sample.value:g}x{MINUTES}"


def _worker_registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    worker = WorkerMetrics(registry)
    worker.expect_topics(["digits"])
    worker.expect_servables(["digits"])
    worker.broker_reachable.set(1)
    loaded = ServableState(ServableId("digits", 1), ManagerState.AVAILABLE, seconds=0.5)
    ServableMetrics(registry, ["digits"]).take(loaded)
    return registry
