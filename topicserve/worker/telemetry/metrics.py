"""The metrics of a worker; those of versions and of replicas are in files of their own.

Naming is prometheus.io's: base units, the unit last, `_total` on counters. Labels take values from
small sets (topics, servables, versions, the enumerations named in each help text), never a record
id, an offset or an error's text: each value is a time series that Prometheus keeps for weeks.
"""

from collections.abc import Iterable

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    Info,
    PlatformCollector,
    ProcessCollector,
)

from topicserve.worker.telemetry.dataref_metrics import DatarefMetrics
from topicserve.worker.telemetry.declare import Declare
from topicserve.worker.telemetry.kafka_metrics import KafkaMetrics
from topicserve.worker.telemetry.label_values import (
    ABANDON_CAUSES,
    BATCH_ENDS,
    CALL_BUCKETS_SECONDS,
    METADATA_STATUSES,
    REASONS,
    RECORD_BUCKETS_SECONDS,
    ROW_BUCKETS,
    SHADOW_OUTCOMES,
    STATUS_CODES,
    at_zero,
)


def new_registry() -> CollectorRegistry:
    """Return a registry with what Prometheus' clients tell about every process."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


class WorkerMetrics(KafkaMetrics, DatarefMetrics):
    """What the stages count and time, registered in the registry given."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        declare = Declare(registry)
        KafkaMetrics.__init__(self, declare)
        DatarefMetrics.__init__(self, declare)
        self.build = Info(
            "topicserve_build",
            "What runs here: release, worker_id, group, client, guarantee.",
            registry=registry,
        )
        self._declare_records(declare)
        self._declare_batches(declare)
        self._declare_metadata(declare)
        self._declare_versions(declare)
        self._start_at_zero()

    def expect_topics(self, topics: Iterable[str]) -> None:
        """Show the input topics' counters at 0."""
        for topic in topics:
            self.records_consumed.labels(topic)
            self.deleted_records.labels(topic)

    def expect_servables(self, names: Iterable[str]) -> None:
        """Show the counters of these servables at 0."""
        for name in names:
            at_zero(self.predict_failures, (name,), STATUS_CODES)
            at_zero(self.shadow_comparisons, (name,), SHADOW_OUTCOMES)
            for counter in (
                *(self.canary_records, self.canary_fallbacks),
                *(self.rejected_versions, self.guarded_records),
                self.unjoined_signatures,
            ):
                at_zero(counter, (name,))

    def _start_at_zero(self) -> None:
        """Show every counter whose labels are known at 0."""
        at_zero(self.dead_letters, REASONS)
        at_zero(self.abandoned_records, ABANDON_CAUSES)
        at_zero(self.metadata_lookups, METADATA_STATUSES)
        at_zero(self.batches, BATCH_ENDS)

    def _declare_records(self, declare: Declare) -> None:
        self.records_consumed = declare.counter(
            "topicserve_records_consumed",
            "Records polled, by input topic; those that are read again count again.",
            ["topic"],
        )
        self.results_published = declare.counter(
            "topicserve_results_published",
            "Results that the broker acknowledged.",
            ["servable", "version"],
        )
        self.dead_letters = declare.counter(
            "topicserve_dead_letters",
            "Records given up and acknowledged in the dead-letter topic, by its reason code.",
            ["reason"],
        )
        self.dead_letters_truncated = declare.counter(
            "topicserve_dead_letters_truncated",
            "Dead letters with less of the record than it had, so that they fit their topic.",
        )
        self.record_seconds = declare.bulk_histogram(
            "topicserve_record_seconds",
            "From a record's poll to the acknowledgement of its result or dead letter.",
            buckets=RECORD_BUCKETS_SECONDS,
        )
        self.publish_to_result_seconds = declare.bulk_histogram(
            "topicserve_publish_to_result_seconds",
            "From a record's Kafka timestamp to the acknowledgement of its result or dead letter.",
            buckets=(*RECORD_BUCKETS_SECONDS, 3600.0, 14_400.0, 86_400.0),
        )
        self.in_flight_records = declare.gauge(
            "topicserve_in_flight_records",
            "Records polled and not yet acknowledged.",
        )
        self.in_flight_bytes = declare.gauge(
            "topicserve_in_flight_bytes",
            "About how much memory the records in flight take.",
        )
        self.abandoned_records = declare.counter(
            "topicserve_abandoned_records",
            "Unfinished records left to another member or a later run: revoked, lost, shutdown.",
            ["cause"],
        )
        self.redeliveries = declare.counter(
            "topicserve_redeliveries",
            "Records that were read and are read again, because their transaction was aborted.",
        )
        self.failed_deliveries = declare.counter(
            "topicserve_failed_deliveries",
            "At least once: results and dead letters that the broker did not acknowledge; each is "
            "sent or predicted again, or replaced by a dead letter.",
        )
        self.careful_partitions = declare.gauge(
            "topicserve_careful_partitions",
            "Partitions read in small steps, since a worker died with records of them in flight.",
        )
        self.predict_timeouts = declare.counter(
            "topicserve_predict_timeouts",
            "Predictions, and bodies of a user's own, that did not return within "
            "delivery.predict_timeout_seconds.",
        )

    def _declare_batches(self, declare: Declare) -> None:
        self.batches = declare.counter(
            "topicserve_batches",
            "Batches predicted, by what ended them: rows, limit, bytes, timeout, gathered.",
            ["ended_by"],
        )
        self.batch_rows = declare.histogram(
            "topicserve_batch_rows",
            "Rows in a batch, without padding.",
            ["servable"],
            buckets=ROW_BUCKETS,
        )
        self.batch_wait_seconds = declare.histogram(
            "topicserve_batch_wait_seconds",
            "How long a batch's first record waited for the batch to be taken.",
            ["servable"],
            buckets=CALL_BUCKETS_SECONDS,
        )
        self.predict_seconds = declare.histogram(
            "topicserve_predict_seconds",
            "One batch's prediction by one version, in however many calls.",
            ["servable", "version"],
            buckets=CALL_BUCKETS_SECONDS,
        )
        self.predict_failures = declare.counter(
            "topicserve_predict_failures",
            "Calls of a servable that failed, by TF Serving's status code.",
            ["servable", "reason"],
        )
        self.unjoined_signatures = declare.counter(
            "topicserve_unjoined_signatures",
            "Signatures of a version that answered a record otherwise beside others than alone.",
            ["servable"],
        )

    def _declare_metadata(self, declare: Declare) -> None:
        self.metadata_seconds = declare.histogram(
            "topicserve_metadata_seconds",
            "One batch's look-up in the metadata store.",
            buckets=CALL_BUCKETS_SECONDS,
        )
        self.metadata_lookups = declare.counter(
            "topicserve_metadata_lookups",
            "Records by what became of their metadata: found, missing, absent, invalid.",
            ["status"],
        )

    def _declare_versions(self, declare: Declare) -> None:
        self.canary_records = declare.counter(
            "topicserve_canary_records",
            "Records in a canary's share, whichever version answers them.",
            ["servable"],
        )
        self.canary_fallbacks = declare.counter(
            "topicserve_canary_fallbacks",
            "Of these, records for the default: the canary's version was not available, or failed.",
            ["servable"],
        )
        self.shadow_comparisons = declare.counter(
            "topicserve_shadow_comparisons",
            "Shadowed records: equal, different, failed, dropped, unavailable, same_version.",
            ["servable", "outcome"],
        )
        self.rejected_versions = declare.counter(
            "topicserve_rejected_versions",
            "New versions that the guard rejected: the version before is the default again.",
            ["servable"],
        )
        self.guarded_records = declare.counter(
            "topicserve_guarded_records",
            "Records that the version before answered, because a new default, or a new version "
            "of a pipeline's step, failed on them.",
            ["servable"],
        )
