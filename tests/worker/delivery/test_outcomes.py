"""What is done with outcomes that the broker acknowledged."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from tests.support.stages.environments import an_environment
from tests.support.stages.records import a_request
from topicserve.wire.dead_letter import Reason
from topicserve.wire.result import Metadata, MetadataStatus
from topicserve.worker.delivery.outcomes import Acknowledgement, record_ages
from topicserve.worker.health.dead_letter_log import DeadLetterLog
from topicserve.worker.stages.calls.second_tries import SecondTries
from topicserve.worker.stages.publish import Encoder, OutgoingBatch
from topicserve.worker.stages.request import BatchPrediction, CallOutput, Rejection
from topicserve.worker.telemetry.bulk_histogram import FEW

NOW_MS = 1_700_000_000_000
MISSING = Metadata(MetadataStatus.MISSING)
ENCODER = Encoder("out", "dead", "worker-1")


def counted(outgoing: OutgoingBatch) -> CollectorRegistry:
    """Return the metrics after these outcomes were acknowledged."""
    registry = CollectorRegistry()
    environment = an_environment(registry)
    acknowledge = Acknowledgement(environment, SecondTries(), DeadLetterLog(environment.clock))
    acknowledge(outgoing)
    return registry


def test_what_was_acknowledged_is_counted_by_version_and_reason() -> None:
    """The metrics say what readers have, not what was tried."""
    requests = [a_request(), a_request(), a_request()]
    rejections = [Rejection(requests[2], Reason.PREDICT_FAILED, ValueError("x"))]
    outputs = CallOutput(requests, {"y": np.arange(3)})
    batch = BatchPrediction("digits", 3, "serving_default", [outputs], [])

    registry = counted(ENCODER.encode(batch, [MISSING] * 3, rejections))

    labels = {"servable": "digits", "version": "3"}
    assert registry.get_sample_value("topicserve_results_published_total", labels) == 2
    dead = registry.get_sample_value("topicserve_dead_letters_total", {"reason": "predict_failed"})
    assert dead == 1


def test_results_of_another_version_are_counted_as_its_own() -> None:
    """Whatever part of them is acknowledged."""
    first, second, third = a_request(), a_request(), a_request()
    answers = [
        CallOutput([first], {"y": np.arange(1)}),
        CallOutput([second, third], {"y": np.arange(2)}, version=2),
    ]
    batch = BatchPrediction("digits", 3, "serving_default", answers, [])

    outgoing = ENCODER.encode(batch, [MISSING] * 3, [])
    registry = counted(outgoing.where(lambda index: index < 2))

    headers = [dict(record.headers)["ce_servableversion"] for record in outgoing.records]
    assert headers == [b"3", b"2", b"2"]
    for version in ("2", "3"):
        labels = {"servable": "digits", "version": version}
        assert registry.get_sample_value("topicserve_results_published_total", labels) == 1


@given(
    st.lists(
        st.integers(-2, 12_000) | st.integers(-2, 12_000).map(lambda more: NOW_MS + more),
        min_size=1,
    )
)
def test_ages_of_few_records_are_those_of_many(published_ms: list[int]) -> None:
    """A lone record is not worth numpy; clocks that differ and old formats are handled alike."""
    of_many = record_ages(NOW_MS / 1000, published_ms * (FEW + 1))

    of_each = [age for one in published_ms for age in record_ages(NOW_MS / 1000, [one])]

    assert list(of_many) == of_each * (FEW + 1)
    assert max(of_each, default=0) < 1


@pytest.mark.parametrize("stamp_ms", [-1, 0, 12_000, NOW_MS // 1000])
@pytest.mark.parametrize("count", [1, 100])
def test_what_is_no_time_of_a_record_has_no_age(stamp_ms: int, count: int) -> None:
    """None, 0 and seconds in the place of milliseconds: one made a maximum of fifty years."""
    published_ms = [stamp_ms] * count + [NOW_MS - 3_000]

    assert list(record_ages(NOW_MS / 1000, published_ms)) == [3.0]
