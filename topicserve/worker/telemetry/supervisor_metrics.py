"""The metrics of the process that runs the replicas."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from topicserve.worker.telemetry.label_values import at_zero


class SupervisorMetrics:
    """What `topicserve worker --replicas N` adds to its replicas' metrics."""

    def __init__(self, registry: CollectorRegistry, replicas: int = 0) -> None:
        self.replica_restarts = Counter(
            "topicserve_replica_restarts",
            "Replicas that ended without being asked to.",
            ["replica"],
            registry=registry,
        )
        at_zero(self.replica_restarts, map(str, range(replicas)))
        # In no registry: it is set while the replicas are asked, and collected right after that.
        self.replica_up = Gauge(
            "topicserve_replica_up",
            "1 when the replica answered this scrape.",
            ["replica"],
            registry=None,
        )
