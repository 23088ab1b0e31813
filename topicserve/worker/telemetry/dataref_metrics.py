"""What is counted of bodies that lie at a URL."""

from topicserve.worker.telemetry.declare import Declare
from topicserve.worker.telemetry.label_values import CALL_BUCKETS_SECONDS, FETCH_OUTCOMES, at_zero


class DatarefMetrics:
    """Counters, times and sizes of fetched bodies."""

    def __init__(self, declare: Declare) -> None:
        self.dataref_fetches = declare.counter(
            "topicserve_dataref_fetches",
            "Tries to fetch a body: found, failed (tried again for dataref.wait_seconds), refused, "
            "not_found, too_large, mismatch.",
            ["outcome"],
        )
        self.dataref_fetch_seconds = declare.histogram(
            "topicserve_dataref_fetch_seconds",
            "One try to fetch a body.",
            buckets=CALL_BUCKETS_SECONDS,
        )
        self.dataref_bytes = declare.counter(
            "topicserve_dataref_bytes",
            "Bytes of bodies that were fetched.",
        )
        self.dataref_waiting_records = declare.gauge(
            "topicserve_dataref_waiting_records",
            "Records whose body is not there yet, and those of the same key behind them.",
        )
        self.stored_results = declare.counter(
            "topicserve_stored_results",
            "Results too large for their topic that were stored under dataref.results.",
        )
        self.stored_result_bytes = declare.counter(
            "topicserve_stored_result_bytes",
            "Bytes of these results.",
        )
        self.result_store_seconds = declare.histogram(
            "topicserve_result_store_seconds",
            "One try to store a result.",
            buckets=CALL_BUCKETS_SECONDS,
        )
        at_zero(self.dataref_fetches, FETCH_OUTCOMES)
