import numpy as np
import orjson
from prometheus_client import CollectorRegistry

from tests.support.stages.records import a_request
from topicserve.wire.dead_letter import Reason
from topicserve.wire.result import Metadata, MetadataStatus
from topicserve.worker.stages.publish import Encoder
from topicserve.worker.stages.request import BatchPrediction, CallOutput, Rejection, Request
from topicserve.worker.telemetry.metrics import WorkerMetrics

ENCODER = Encoder("out", "dead", "worker-1")
MISSING = Metadata(MetadataStatus.MISSING)


def predicted(*requests: Request) -> BatchPrediction:
    """Return outputs that number the requests."""
    outputs = {"y": np.arange(len(requests))}
    return BatchPrediction("digits", 3, "serving_default", [CallOutput(requests, outputs)], [])


def test_every_record_gets_one_outcome() -> None:
    """A result where it was answered and joined, a dead letter where it was rejected."""
    good, bad, refused = a_request(), a_request(), a_request()
    found = [Metadata(MetadataStatus.FOUND, b'{"a":1}'), MISSING]
    rejections = [
        Rejection(bad, Reason.METADATA_INVALID, ValueError("not JSON")),
        Rejection(refused, Reason.INVALID_INPUT, ValueError("shape")),
    ]

    outgoing = ENCODER.encode(predicted(good, bad), found, rejections)

    assert outgoing.polled == [good, bad, refused]
    assert [record.topic for record in outgoing.records] == ["out", "dead", "dead"]
    assert outgoing.reasons == [None, Reason.METADATA_INVALID, Reason.INVALID_INPUT]
    assert orjson.loads(outgoing.records[0].value or b"")["metadata"] == {"a": 1}
    assert dict(outgoing.records[2].headers)["topicserve-reason"] == b"invalid_input"
    assert outgoing.record_ids() == [good.input.record_id]


def test_what_was_acknowledged_is_counted_by_version_and_reason() -> None:
    """The metrics say what readers have, not what was tried."""
    requests = [a_request(), a_request(), a_request()]
    rejections = [Rejection(requests[2], Reason.PREDICT_FAILED, ValueError("x"))]
    outgoing = ENCODER.encode(predicted(*requests), [MISSING] * len(requests), rejections)
    registry = CollectorRegistry()

    outgoing.count(WorkerMetrics(registry))

    labels = {"servable": "digits", "version": "3"}
    assert registry.get_sample_value("topicserve_results_published_total", labels) == 2
    dead = registry.get_sample_value("topicserve_dead_letters_total", {"reason": "predict_failed"})
    assert dead == 1


def test_what_is_no_longer_ours_is_left_out() -> None:
    """The next owner publishes it."""
    requests = [a_request(), a_request()]
    outgoing = ENCODER.encode(predicted(*requests), [MISSING] * len(requests), [])
    requests[0].assignment.closed = True

    kept, dropped = outgoing.without_revoked()

    assert (kept.polled, dropped.polled) == ([requests[1]], [requests[0]])
    assert len(kept.records) == len(kept.reasons) == 1


def test_results_of_another_version_name_it_and_are_counted_as_its_own() -> None:
    """Whatever part of them is acknowledged."""
    first, second, third = a_request(), a_request(), a_request()
    batch = BatchPrediction(
        "digits",
        3,
        "serving_default",
        [
            CallOutput([first], {"y": np.arange(1)}),
            CallOutput([second, third], {"y": np.arange(2)}, version=2),
        ],
        [],
    )
    registry = CollectorRegistry()

    outgoing = ENCODER.encode(batch, [MISSING] * 3, [])
    outgoing.where(lambda index: index < 2).count(WorkerMetrics(registry))

    headers = [dict(record.headers)["ce_servableversion"] for record in outgoing.records]
    assert headers == [b"3", b"2", b"2"]
    for version in ("2", "3"):
        labels = {"servable": "digits", "version": version}
        assert registry.get_sample_value("topicserve_results_published_total", labels) == 1
