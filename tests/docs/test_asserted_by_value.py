"""What a person reads of a worker is asserted by its value in some test: a name is not enough."""

import pytest

from tests.docs.test_logging import ROWS
from tests.support.docs.assertions import assertions
from tests.support.docs.configured import configured
from tools.reference_pages import keys, keys_of_servables, metric_rows
from topicserve.worker.telemetry import label_values

pytestmark = pytest.mark.slow
# It asserts that counters begin at 0, which says nothing of what they count.
ZEROS = "worker/telemetry/test_metrics.py"
CLOSED = {
    "abandoned_records": label_values.ABANDON_CAUSES,
    "metadata_lookups": label_values.METADATA_STATUSES,
    "commits": label_values.COMMIT_OUTCOMES,
    "transactions": label_values.TRANSACTION_OUTCOMES,
    "batches": label_values.BATCH_ENDS,
    "retries": label_values.RETRY_STAGES,
    "rebalances": label_values.REBALANCE_EVENTS,
    "shadow_comparisons": label_values.SHADOW_OUTCOMES,
}


def names_of(metric: str) -> set[str]:
    """Return how tests may write a metric's name: helpers add the prefix."""
    short = metric.removeprefix("topicserve_")
    names = {short + suffix for suffix in ("", "_count", "_sum", "_bucket")}
    return names | {f"topicserve_{name}" for name in names}


def is_asserted(metric: str, *values: str) -> bool:
    """Return whether a test compares a metric, and these values of its labels."""
    names = names_of(metric)
    # Where a helper adds the prefix and the suffix.
    parts = {metric.removeprefix("topicserve_").removesuffix("_total"), "topicserve_", "_total"}
    return any(
        (one.words & names or one.words >= parts) and one.words.issuperset(values)
        for one in assertions()
        if one.path != ZEROS
    )


def test_every_metric_is_asserted_by_value() -> None:
    """By a test that brings the value about."""
    assert [row.name for row in metric_rows() if not is_asserted(row.name)] == []


def test_every_cause_and_outcome_is_asserted_by_value() -> None:
    """One that is never counted misleads the person who waits for it."""
    pairs = [(f"topicserve_{name}_total", value) for name in CLOSED for value in CLOSED[name]]

    assert [pair for pair in pairs if not is_asserted(*pair)] == []


def test_every_event_is_asserted_with_its_fields() -> None:
    """Its traceback is asserted by the log record."""
    missing = {
        event: fields.difference({"traceback"}, *words) if words else {event}
        for event, fields in ROWS.items()
        for words in [[one.words for one in assertions() if event in one.words]]
        if event != "library_message"
    }

    assert {event: fields for event, fields in missing.items() if fields} == {}


def test_every_key_is_set_where_its_behaviour_is_tested() -> None:
    """Beside the tests that it is read, and in the table that it is in."""
    rows = [*keys(), *keys_of_servables()]

    assert [key.dotted for key in rows if (key.table, key.name) not in configured()] == []
