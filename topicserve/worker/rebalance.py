"""Partitions come and go as the group decides."""

from collections.abc import Sequence

from topicserve.backends.broker import Offsets
from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.delivery.delivery import Delivery
from topicserve.worker.health.unavailable_servables import UnavailableServables
from topicserve.worker.offsets.tracker import OffsetTracker
from topicserve.worker.quarantine.quarantine import Quarantine
from topicserve.worker.stages.batch import Gathers
from topicserve.worker.stages.consume import FlowControl
from topicserve.worker.telemetry.logging import log_event
from topicserve.worker.telemetry.metrics import WorkerMetrics


class Rebalance:
    """Opens and closes the tracker's assignments as the group gives and takes partitions."""

    def __init__(
        self,
        tracker: OffsetTracker,
        flow: FlowControl,
        batcher: Gathers,
        delivery: Delivery,
        unavailable: UnavailableServables,
        quarantine: Quarantine,
        metrics: WorkerMetrics,
    ) -> None:
        self._tracker = tracker
        self._flow = flow
        self._batcher = batcher
        self._delivery = delivery
        self._unavailable = unavailable
        self._quarantine = quarantine
        self._metrics = metrics
        self.joined = False

    def on_assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """Open assignments for new partitions."""
        self._tracker.assign(partitions)
        self._flow.forget(partitions)  # they come unpaused, whatever they were before
        self._quarantine.assigned(partitions)
        self.joined = True
        self._note("assigned", partitions)

    def on_revoked(self, partitions: Sequence[TopicPartition]) -> Offsets:
        """Finish what is in progress for these within the drain budget, and let them go."""
        self._quarantine.note_clean_stop(partitions)  # first: the notes go with the offsets
        before = self._tracker.abandoned_records
        offsets = self._delivery.revoke(partitions)
        self._drop_what_went(partitions)
        self._note("revoked", partitions, self._tracker.abandoned_records - before)
        return offsets

    def on_lost(self, partitions: Sequence[TopicPartition]) -> None:
        """Let partitions go that someone else may own already."""
        before = self._tracker.abandoned_records
        self._delivery.lose(partitions)
        self._drop_what_went(partitions)
        self._note("lost", partitions, self._tracker.abandoned_records - before)

    def _drop_what_went(self, partitions: Sequence[TopicPartition]) -> None:
        """Let go of what gathered for partitions that are gone: it may wait for a version."""
        self._flow.forget(partitions)
        self._tracker.finish([*self._batcher.drop_revoked(), *self._quarantine.drop_revoked()])
        self._quarantine.released(partitions)
        self._unavailable.forget()  # whatever still waits says so again

    def _note(
        self, event: str, partitions: Sequence[TopicPartition], abandoned_records: int = 0
    ) -> None:
        self._metrics.rebalances.labels(event).inc()
        if abandoned_records:
            self._metrics.abandoned_records.labels(event).inc(abandoned_records)
        self._metrics.assigned_partitions.set(len(self._tracker.partitions()))
        names = ",".join(f"{topic}-{number}" for topic, number in sorted(partitions))
        log_event(f"partitions_{event}", partitions=names, unfinished_records=abandoned_records)
