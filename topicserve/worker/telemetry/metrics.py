"""Every metric that a worker exposes, and the only place where their names are written.

Naming is prometheus.io's: base units, the unit last, `_total` on counters. Labels take values from
small sets (topics, servables, versions, the enumerations named in each help text), never a record
id, an offset or an error's text: each value is a time series that Prometheus keeps for weeks.
"""

from collections import deque
from collections.abc import Callable, Iterable
from itertools import product
from typing import Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
)

from topicserve.servables.core.concurrency.event_bus import EventAndTime
from topicserve.servables.core.errors import ServableError
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_state import ManagerState, ServableState
from topicserve.wire.dead_letter import Reason
from topicserve.worker.telemetry.bulk_histogram import BulkHistogram

ROW_BUCKETS = tuple(float(2**power) for power in range(13))
"""1 to 4096 rows: batch sizes are powers of two, or close to them."""

CALL_BUCKETS_SECONDS = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
"""For one call of a servable, a store or a broker."""

RECORD_BUCKETS_SECONDS = (*CALL_BUCKETS_SECONDS, 30.0, 60.0, 300.0, 900.0)
"""For a record's whole way, which lasts as long as what it waits for is away."""

LOAD_BUCKETS_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)


# The values of the labels whose sets are closed. Each of their series is there from the start, at
# 0: Prometheus sees no increase in a counter that appears together with its first event.
REASONS = tuple(reason.value for reason in Reason)
ABANDON_CAUSES = ("revoked", "lost", "shutdown")
REDELIVERY_CAUSES = ("transaction_aborted", "delivery_failed")
METADATA_STATUSES = ("found", "missing", "absent", "invalid")
COMMIT_OUTCOMES = ("committed", "refused", "failed")
TRANSACTION_OUTCOMES = ("committed", "aborted")
BATCH_ENDS = ("rows", "bytes", "timeout", "gathered")
RETRY_STAGES = ("predict", "join", "publish", "transaction")
REBALANCE_EVENTS = ("assigned", "revoked", "lost")
SHADOW_OUTCOMES = (
    *("equal", "different", "failed", "dropped"),
    *("unavailable", "same_version"),
)
STATUS_CODES = tuple(
    sorted({ServableError.code, *(e.code for e in ServableError.__subclasses__())})
)
STATES = tuple(state.name for state in ManagerState)


def new_registry() -> CollectorRegistry:
    """Return a registry with what Prometheus' clients tell about every process."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


class StateEvents(Protocol):
    """Where the states of versions are told: the lifecycle core, or its event bus alone."""

    def subscribe(self, subscriber: Callable[[EventAndTime[ServableState]], None], /) -> object:
        """Call `subscriber` with what happens from now on, one call at a time."""


class WorkerMetrics:
    """What the stages count and time, registered in the registry given."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.build = Info(
            "topicserve_build",
            "What runs here: release, worker_id, group, client, guarantee.",
            registry=registry,
        )
        self._declare_records(registry)
        self._declare_batches(registry)
        self._declare_metadata(registry)
        self._declare_delivery(registry)
        self._declare_group(registry)
        self._declare_versions(registry)
        self._start_at_zero()

    def expect_topics(self, topics: Iterable[str]) -> None:
        """Show the input topics' counters at 0."""
        for topic in topics:
            self.records_consumed.labels(topic)
            self.deleted_records.labels(topic)

    def expect_servables(self, names: Iterable[str]) -> None:
        """Show the counters of these servables at 0."""
        for name in names:
            _at_zero(self.predict_failures, (name,), STATUS_CODES)
            _at_zero(self.shadow_comparisons, (name,), SHADOW_OUTCOMES)
            for counter in (
                *(self.canary_records, self.canary_fallbacks),
                *(self.rejected_versions, self.guarded_records),
                self.unjoined_signatures,
            ):
                _at_zero(counter, (name,))

    def _start_at_zero(self) -> None:
        """Show every counter whose labels are known at 0."""
        _at_zero(self.dead_letters, REASONS)
        _at_zero(self.abandoned_records, ABANDON_CAUSES)
        _at_zero(self.redeliveries, REDELIVERY_CAUSES)
        _at_zero(self.metadata_lookups, METADATA_STATUSES)
        _at_zero(self.commits, COMMIT_OUTCOMES)
        _at_zero(self.transactions, TRANSACTION_OUTCOMES)
        _at_zero(self.retries, RETRY_STAGES)
        _at_zero(self.batches, BATCH_ENDS)
        _at_zero(self.rebalances, REBALANCE_EVENTS)

    def _declare_records(self, registry: CollectorRegistry) -> None:
        self.records_consumed = Counter(
            "topicserve_records_consumed",
            "Records polled, by input topic.",
            ["topic"],
            registry=registry,
        )
        self.results_published = Counter(
            "topicserve_results_published",
            "Results that the broker acknowledged.",
            ["servable", "version"],
            registry=registry,
        )
        self.dead_letters = Counter(
            "topicserve_dead_letters",
            "Records given up and acknowledged in the dead-letter topic, by its reason code.",
            ["reason"],
            registry=registry,
        )
        self.dead_letters_truncated = Counter(
            "topicserve_dead_letters_truncated",
            "Dead letters that were refused and sent again with less of the record.",
            registry=registry,
        )
        self.record_seconds = BulkHistogram(
            "topicserve_record_seconds",
            "From a record's poll to the acknowledgement of its result or dead letter.",
            buckets=RECORD_BUCKETS_SECONDS,
            registry=registry,
        )
        self.publish_to_result_seconds = BulkHistogram(
            "topicserve_publish_to_result_seconds",
            "From a record's Kafka timestamp to the acknowledgement of its result or dead letter.",
            buckets=(*RECORD_BUCKETS_SECONDS, 3600.0, 14_400.0, 86_400.0),
            registry=registry,
        )
        self.in_flight_records = Gauge(
            "topicserve_in_flight_records",
            "Records polled and not yet acknowledged.",
            registry=registry,
        )
        self.in_flight_bytes = Gauge(
            "topicserve_in_flight_bytes",
            "About how much memory the records in flight take.",
            registry=registry,
        )
        self.abandoned_records = Counter(
            "topicserve_abandoned_records",
            "Unfinished records left to another member or a later run: revoked, lost, shutdown.",
            ["cause"],
            registry=registry,
        )
        self.redeliveries = Counter(
            "topicserve_redeliveries",
            "Records read again after an abort (transaction_aborted), or their outcome sent again "
            "(delivery_failed).",
            ["cause"],
            registry=registry,
        )

        self.careful_partitions = Gauge(
            "topicserve_careful_partitions",
            "Partitions read in small steps, since a worker died with records of them in flight.",
            registry=registry,
        )
        self.predict_timeouts = Counter(
            "topicserve_predict_timeouts",
            "Batches whose prediction did not return within delivery.predict_timeout_seconds.",
            registry=registry,
        )

    def _declare_batches(self, registry: CollectorRegistry) -> None:
        self.batches = Counter(
            "topicserve_batches",
            "Batches predicted, by what ended them: rows, bytes, timeout, gathered.",
            ["ended_by"],
            registry=registry,
        )
        self.batch_rows = Histogram(
            "topicserve_batch_rows",
            "Rows in a batch, without padding.",
            ["servable"],
            buckets=ROW_BUCKETS,
            registry=registry,
        )
        self.batch_wait_seconds = Histogram(
            "topicserve_batch_wait_seconds",
            "How long a batch's first record waited for the batch to be taken.",
            ["servable"],
            buckets=CALL_BUCKETS_SECONDS,
            registry=registry,
        )
        self.predict_seconds = Histogram(
            "topicserve_predict_seconds",
            "One call of a servable.",
            ["servable", "version"],
            buckets=CALL_BUCKETS_SECONDS,
            registry=registry,
        )
        self.predict_failures = Counter(
            "topicserve_predict_failures",
            "Calls of a servable that failed, by TF Serving's status code.",
            ["servable", "reason"],
            registry=registry,
        )
        self.unjoined_signatures = Counter(
            "topicserve_unjoined_signatures",
            "Signatures of a version that answered a record otherwise beside others than alone.",
            ["servable"],
            registry=registry,
        )

    def _declare_metadata(self, registry: CollectorRegistry) -> None:
        self.metadata_seconds = Histogram(
            "topicserve_metadata_seconds",
            "One batch's look-up in the metadata store.",
            buckets=CALL_BUCKETS_SECONDS,
            registry=registry,
        )
        self.metadata_lookups = Counter(
            "topicserve_metadata_lookups",
            "Records whose metadata was looked up: found, missing, absent, invalid.",
            ["status"],
            registry=registry,
        )

    def _declare_delivery(self, registry: CollectorRegistry) -> None:
        self.commits = Counter(
            "topicserve_commits",
            "Offset commits: committed, refused, failed.",
            ["outcome"],
            registry=registry,
        )
        self.commit_seconds = Histogram(
            "topicserve_commit_seconds",
            "One offset commit, or one transaction's.",
            buckets=CALL_BUCKETS_SECONDS,
            registry=registry,
        )
        self.transactions = Counter(
            "topicserve_transactions",
            "Kafka transactions: committed, aborted.",
            ["outcome"],
            registry=registry,
        )
        self.retries = Counter(
            "topicserve_retries",
            "Tries repeated after a passing fault: predict, join, publish, transaction.",
            ["stage"],
            registry=registry,
        )
        self.breaker_open = Gauge(
            "topicserve_breaker_open",
            "1 while consumption is paused because too large a share of records was given up.",
            registry=registry,
        )

    def _declare_group(self, registry: CollectorRegistry) -> None:
        self.rebalances = Counter(
            "topicserve_rebalances",
            "Changes of this member's partitions: assigned, revoked, lost.",
            ["event"],
            registry=registry,
        )
        self.assigned_partitions = Gauge(
            "topicserve_assigned_partitions",
            "Partitions that this member has.",
            registry=registry,
        )
        self.paused_partitions = Gauge(
            "topicserve_paused_partitions",
            "Partitions paused because the in-flight limit was reached or the breaker is open.",
            registry=registry,
        )
        self.deleted_records = Counter(
            "topicserve_deleted_records",
            "Offsets that the group did not read before the log began behind them (retention).",
            ["topic"],
            registry=registry,
        )
        self.broker_reachable = Gauge(
            "topicserve_broker_reachable",
            "1 when a broker has answered within kafka.unreachable_seconds.",
            registry=registry,
        )
        self.consumer_lag_records = Gauge(
            "topicserve_consumer_lag_records",
            "Offsets from the oldest record not finished to the partition's end, while assigned.",
            ["topic", "partition"],
            registry=registry,
        )
        self.consumer_lag_seconds = Gauge(
            "topicserve_consumer_lag_seconds",
            "About the age of the oldest record not finished, while the partition is assigned.",
            ["topic", "partition"],
            registry=registry,
        )

    def _declare_versions(self, registry: CollectorRegistry) -> None:
        self.canary_records = Counter(
            "topicserve_canary_records",
            "Records in a canary's share, whichever version answers them.",
            ["servable"],
            registry=registry,
        )
        self.canary_fallbacks = Counter(
            "topicserve_canary_fallbacks",
            "Of these, records for the default: the canary's version was not available, or failed.",
            ["servable"],
            registry=registry,
        )
        self.shadow_comparisons = Counter(
            "topicserve_shadow_comparisons",
            "Shadowed records: equal, different, failed, dropped, unavailable, same_version.",
            ["servable", "outcome"],
            registry=registry,
        )
        self.rejected_versions = Counter(
            "topicserve_rejected_versions",
            "New versions that the guard rejected: the version before is the default again.",
            ["servable"],
            registry=registry,
        )
        self.guarded_records = Counter(
            "topicserve_guarded_records",
            "Records that the version before answered, because a new default, or a new version "
            "of a pipeline's step, failed on them.",
            ["servable"],
            registry=registry,
        )


class ServableMetrics:
    """What the lifecycle core reports of versions coming and going.

    Versions come for as long as the worker runs, and series of those that are gone would add up: a
    version that was unloaded leaves none, and of those that failed the last MAX_FAILED are kept.
    """

    MAX_FAILED = 64

    def __init__(self, registry: CollectorRegistry, names: Iterable[str] = ()) -> None:
        """`names` are the servables that are known at the start."""
        self._expected: set[str] = set()
        self._states: dict[ServableId, str] = {}
        self._failed: deque[ServableId] = deque()
        self.servable_state = Gauge(
            "topicserve_servable_state",
            "1 for the state that a version is in: START, LOADING, AVAILABLE, UNLOADING, END.",
            ["servable", "version", "state"],
            registry=registry,
        )
        self.servable_transitions = Counter(
            "topicserve_servable_transitions",
            "States that versions of a servable came into.",
            ["servable", "state"],
            registry=registry,
        )
        self.servable_failures = Counter(
            "topicserve_servable_failures",
            "Versions that ended with an error (they could not be loaded), by its status code.",
            ["servable", "reason"],
            registry=registry,
        )
        self.servable_load_seconds = Histogram(
            "topicserve_servable_load_seconds",
            "From LOADING to AVAILABLE, retries and warm-up included.",
            ["servable"],
            buckets=LOAD_BUCKETS_SECONDS,
            registry=registry,
        )
        self.servable_unload_seconds = Histogram(
            "topicserve_servable_unload_seconds",
            "From UNLOADING to END; a long one waits for handles to be closed.",
            ["servable"],
            buckets=LOAD_BUCKETS_SECONDS,
            registry=registry,
        )

        self.expect(names)

    def expect(self, names: Iterable[str]) -> None:
        """Show the counters of these servables at 0."""
        for name in names:
            if name not in self._expected:
                self._expected.add(name)
                _at_zero(self.servable_transitions, (name,), STATES)
                _at_zero(self.servable_failures, (name,), STATUS_CODES)

    def subscribe(self, events: StateEvents) -> None:
        """Follow what happens from now on."""
        events.subscribe(lambda event: self.take(event.event))

    def take(self, state: ServableState) -> None:
        """Count a version's new state. One call at a time, as the event bus makes them."""
        name = state.id.name
        self.expect([name])
        self._show(state)
        self.servable_transitions.labels(name, state.manager_state.name).inc()
        if state.error is not None:
            self.servable_failures.labels(name, state.error.code).inc()
        elif state.seconds is not None and state.manager_state is ManagerState.AVAILABLE:
            self.servable_load_seconds.labels(name).observe(state.seconds)
        elif state.seconds is not None:
            self.servable_unload_seconds.labels(name).observe(state.seconds)

    def _show(self, state: ServableState) -> None:
        """Leave the version with the one series of the state that it is in now."""
        self._hide(state.id)
        ended = state.manager_state is ManagerState.END
        if ended and state.error is None:
            return
        self._states[state.id] = state.manager_state.name
        self.servable_state.labels(*_labels(state.id), state.manager_state.name).set(1)
        if ended:
            self._failed.append(state.id)
            if len(self._failed) > self.MAX_FAILED:
                self._hide(self._failed[0])

    def _hide(self, servable_id: ServableId) -> None:
        before = self._states.pop(servable_id, None)
        if before is not None:
            self.servable_state.remove(*_labels(servable_id), before)
        if before == ManagerState.END.name:
            self._failed.remove(servable_id)


def _labels(servable_id: ServableId) -> tuple[str, str]:
    return servable_id.name, str(servable_id.version)


def _at_zero(counter: Counter, *labels: Iterable[str]) -> None:
    """Make a counter's series of every combination of these labels, at 0."""
    for values in product(*labels):
        counter.labels(*values)


class SupervisorMetrics:
    """What `topicserve worker --replicas N` adds to its replicas' metrics."""

    def __init__(self, registry: CollectorRegistry, replicas: int = 0) -> None:
        self.replica_restarts = Counter(
            "topicserve_replica_restarts",
            "Replicas that ended without being asked to.",
            ["replica"],
            registry=registry,
        )
        _at_zero(self.replica_restarts, map(str, range(replicas)))
        # In no registry: it is set while the replicas are asked, and collected right after that.
        self.replica_up = Gauge(
            "topicserve_replica_up",
            "1 when the replica answered this scrape.",
            ["replica"],
            registry=None,
        )
