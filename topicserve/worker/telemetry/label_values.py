"""The values that labels take, and the buckets of histograms.

A label that is not here takes its values from the configuration (servables, topics) and is bounded
by it.
"""

from collections.abc import Iterable
from itertools import product

from prometheus_client import Counter

from topicserve.servables.core.errors import ServableError
from topicserve.servables.core.servable_state import ManagerState
from topicserve.wire.dead_letter import Reason

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
METADATA_STATUSES = ("found", "missing", "absent", "invalid")
FETCH_OUTCOMES = ("found", "failed", "refused", "not_found", "too_large", "mismatch")
COMMIT_OUTCOMES = ("committed", "refused", "failed")
TRANSACTION_OUTCOMES = ("committed", "aborted")
BATCH_ENDS = ("rows", "limit", "bytes", "timeout", "gathered")
RETRY_STAGES = ("predict", "join", "store", "publish", "transaction")
REBALANCE_EVENTS = ("assigned", "revoked", "lost")
SHADOW_OUTCOMES = (
    *("equal", "different", "failed", "dropped"),
    *("unavailable", "same_version"),
)
STATUS_CODES = tuple(
    sorted({ServableError.code, *(e.code for e in ServableError.__subclasses__())})
)
STATES = tuple(state.name for state in ManagerState)


def at_zero(counter: Counter, *labels: Iterable[str]) -> None:
    """Make a counter's series of every combination of these labels, at 0."""
    for values in product(*labels):
        counter.labels(*values)
