"""What a person reads of a worker is asserted by its value in some test: a name is not enough."""

import pytest

from tests.docs.test_logging import ROWS
from tests.support.docs.assertions import assertions, settings
from tools.reference_pages import keys, metric_rows
from topicserve.worker.telemetry import metrics

# It asserts that counters begin at 0, which says nothing of what they count.
ZEROS = "worker/telemetry/test_metrics.py"
CLOSED = {
    "abandoned_records": metrics.ABANDON_CAUSES,
    "redeliveries": metrics.REDELIVERY_CAUSES,
    "metadata_lookups": metrics.METADATA_STATUSES,
    "commits": metrics.COMMIT_OUTCOMES,
    "transactions": metrics.TRANSACTION_OUTCOMES,
    "retries": metrics.RETRY_STAGES,
    "rebalances": metrics.REBALANCE_EVENTS,
    "shadow_comparisons": metrics.SHADOW_OUTCOMES,
}


def names_of(metric: str) -> set[str]:
    """Return how tests may write a metric's name: helpers add the prefix or the suffix."""
    short = metric.removeprefix("topicserve_")
    suffixes = ("", "_count", "_sum", "_bucket")
    names = {short + suffix for suffix in suffixes} | {short.removesuffix("_total")}
    return names | {f"topicserve_{name}" for name in names}


@pytest.mark.parametrize("metric", [row.name for row in metric_rows()])
def test_every_metric_is_asserted_by_value(metric: str) -> None:
    """By a test that brings the value about."""
    names = names_of(metric)

    assert [one for one in assertions() if one.words & names and one.path != ZEROS]


@pytest.mark.parametrize(
    ("attribute", "value"), [(name, value) for name, values in CLOSED.items() for value in values]
)
def test_every_cause_and_outcome_is_asserted_by_value(attribute: str, value: str) -> None:
    """One that is never counted misleads the person who waits for it."""
    names = names_of(f"topicserve_{attribute}_total")

    assert [
        one
        for one in assertions()
        if one.words & names and value in one.words and one.path != ZEROS
    ]


@pytest.mark.parametrize("event", sorted(ROWS.keys() - {"library_message"}))
def test_every_event_is_asserted_with_its_fields(event: str) -> None:
    """Its traceback is asserted by the log record."""
    words = [one.words for one in assertions() if event in one.words]

    assert words
    assert ROWS[event] - {"traceback"} - set().union(*words) == set()


@pytest.mark.parametrize("key", [key.name for key in keys()])
def test_every_key_is_set_where_its_behaviour_is_tested(key: str) -> None:
    """Beside the tests that it is read."""
    assert key in settings()
