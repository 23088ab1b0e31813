"""The guard after a swap, as a worker sets it up and reports it."""

import logging

from topicserve.servables.swap_guard import GuardLimits, Probation, SwapGuard, Verdict
from topicserve.worker.config import WorkerConfig
from topicserve.worker.logging import log_event
from topicserve.worker.metrics import WorkerMetrics


def swap_guard(config: WorkerConfig, metrics: WorkerMetrics) -> SwapGuard:
    """Return the guard of all servables. Those of a model config file have the defaults."""
    limits = {
        entry.servable.name: GuardLimits(entry.guard_share, entry.guard_records)
        for entry in config.servables
    }

    def heard(probation: Probation) -> None:
        if probation.verdict is Verdict.REJECTED:
            metrics.rejected_versions.labels(probation.name).inc()
        log_event(
            f"version_probation_{probation.verdict.value}",
            logging.WARNING if probation.verdict is Verdict.REJECTED else logging.INFO,
            servable=probation.name,
            version=probation.version,
            predecessor=probation.predecessor,
            records=probation.records,
            failed=probation.failed,
        )

    return SwapGuard(lambda name: limits.get(name, GuardLimits()), heard)
