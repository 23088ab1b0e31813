"""The guard after a swap, as a worker sets it up and reports it."""

import logging
from collections import Counter

from topicserve.servables.server.swap_guard import GuardLimits, Probation, SwapGuard, Verdict
from topicserve.worker.config.schema import WorkerConfig
from topicserve.worker.stages.publish import OutgoingBatch
from topicserve.worker.stages.request import Trial
from topicserve.worker.telemetry.logging import log_event
from topicserve.worker.telemetry.metrics import WorkerMetrics


def swap_guard(config: WorkerConfig, metrics: WorkerMetrics) -> SwapGuard:
    """Return the guard of all servables. Those of a model config file have the defaults."""
    limits = {
        entry.name: GuardLimits(entry.guard_share, entry.guard_records)
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


class GuardedResults:
    """Tells the guard of results that are published: what is predicted may still be refused."""

    def __init__(self, guard: SwapGuard, metrics: WorkerMetrics) -> None:
        self._guard = guard
        self._metrics = metrics

    def note(self, outgoing: OutgoingBatch) -> None:
        """Note what was acknowledged. Any thread may call it."""
        if not outgoing.evidence:
            return  # nearly always: no version is on probation
        answered: Counter[Trial] = Counter()
        failed: Counter[Trial] = Counter()
        for polled, reason in zip(outgoing.polled, outgoing.reasons, strict=True):
            evidence = outgoing.evidence.get(id(polled))
            if evidence is not None and reason is None:
                answered.update(evidence.answered)
                failed.update(evidence.failed)
        for trial in answered.keys() | failed.keys():
            self._metrics.guarded_records.labels(trial.name).inc(failed[trial])
            self._guard.observe(trial.name, trial.version, answered[trial], failed[trial])
