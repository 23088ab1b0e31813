import numpy as np
import orjson

from tests.support.stages.records import a_request
from topicserve.wire.dead_letter import Reason
from topicserve.wire.result import Metadata, MetadataStatus
from topicserve.worker.stages.publish import Encoder
from topicserve.worker.stages.request import BatchPrediction, CallOutput, Rejection, Request

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


def test_what_is_no_longer_ours_is_left_out() -> None:
    """The next owner publishes it."""
    requests = [a_request(), a_request()]
    outgoing = ENCODER.encode(predicted(*requests), [MISSING] * len(requests), [])
    requests[0].assignment.closed = True

    kept, dropped = outgoing.without_revoked()

    assert (kept.polled, dropped.polled) == ([requests[1]], [requests[0]])
    assert len(kept.records) == len(kept.reasons) == 1
