"""The metrics of what a worker does as a member of its group: commits, partitions, lag."""

from topicserve.worker.telemetry.declare import Declare
from topicserve.worker.telemetry.label_values import (
    CALL_BUCKETS_SECONDS,
    COMMIT_OUTCOMES,
    REBALANCE_EVENTS,
    RETRY_STAGES,
    TRANSACTION_OUTCOMES,
    at_zero,
)

DELETED_RECORDS = "topicserve_deleted_records"
"""A replay reads it back for its account."""


class KafkaMetrics:
    """The part of WorkerMetrics that is about Kafka."""

    def __init__(self, declare: Declare) -> None:
        self._declare_commits(declare)
        self._declare_partitions(declare)
        at_zero(self.commits, COMMIT_OUTCOMES)
        at_zero(self.transactions, TRANSACTION_OUTCOMES)
        at_zero(self.retries, RETRY_STAGES)
        at_zero(self.rebalances, REBALANCE_EVENTS)

    def _declare_commits(self, declare: Declare) -> None:
        self.commits = declare.counter(
            "topicserve_commits",
            "Offset commits: committed, refused, failed.",
            ["outcome"],
        )
        self.commit_seconds = declare.histogram(
            "topicserve_commit_seconds",
            "One offset commit, or one transaction from its begin to its commit.",
            buckets=CALL_BUCKETS_SECONDS,
        )
        self.transactions = declare.counter(
            "topicserve_transactions",
            "Kafka transactions: committed, aborted.",
            ["outcome"],
        )
        self.retries = declare.counter(
            "topicserve_retries",
            "Tries repeated after a passing fault: predict, join, publish, transaction.",
            ["stage"],
        )
        self.breaker_open = declare.gauge(
            "topicserve_breaker_open",
            "1 while consumption is paused because too large a share of records was given up.",
        )

    def _declare_partitions(self, declare: Declare) -> None:
        self.rebalances = declare.counter(
            "topicserve_rebalances",
            "Changes of this member's partitions: assigned, revoked, lost.",
            ["event"],
        )
        self.assigned_partitions = declare.gauge(
            "topicserve_assigned_partitions",
            "Partitions that this member has.",
        )
        self.paused_partitions = declare.gauge(
            "topicserve_paused_partitions",
            "Partitions paused because the in-flight limit was reached or the breaker is open.",
        )
        self.deleted_records = declare.counter(
            DELETED_RECORDS,
            "Offsets that the group did not read before the log began behind them (retention).",
            ["topic"],
        )
        self.broker_reachable = declare.gauge(
            "topicserve_broker_reachable",
            "1 when a broker has answered within kafka.unreachable_timeout_seconds.",
        )
        self.consumer_lag_records = declare.gauge(
            "topicserve_consumer_lag_records",
            "Offsets from the oldest record not finished to the partition's end, while assigned.",
            ["topic", "partition"],
        )
        self.consumer_lag_seconds = declare.gauge(
            "topicserve_consumer_lag_seconds",
            "About the age of the oldest record not finished, while the partition is assigned.",
            ["topic", "partition"],
        )
