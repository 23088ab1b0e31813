"""What the stages make of a batch: predicted and encoded, up to what is published."""

from collections.abc import Sequence
from typing import Any

from tests.support.servables.servables import Served
from tests.support.stages.environments import an_environment
from tests.support.stages.records import ROUTE, ManualClock
from topicserve.wire.result import Metadata, MetadataStatus
from topicserve.worker.config.schema import BatchingConfig
from topicserve.worker.stages.batch_sizer import BatchSizer
from topicserve.worker.stages.predict import Predictor
from topicserve.worker.stages.publish import Encoder
from topicserve.worker.stages.request import Batch, Request, Route

_NO_METADATA = Metadata(MetadataStatus.ABSENT)


def a_predictor(
    servable: Any, allowed_batch_sizes: tuple[int, ...] = (), check_batches: int = 0
) -> Predictor:
    """Return a predictor with one version."""
    batching = BatchingConfig(allowed_batch_sizes=allowed_batch_sizes, check_batches=check_batches)
    environment = an_environment(clock=ManualClock(), batching=batching)
    return Predictor(environment, Served({1: servable}), BatchSizer(1024, 0))


def outcomes(
    servable: Any,
    requests: Sequence[Request],
    allowed_batch_sizes: tuple[int, ...] = (),
    signature_name: str = "serving_default",
) -> dict[str, Any]:
    """Return by record id: a result's body, or the reason and message of a dead letter."""
    predictor = a_predictor(servable, allowed_batch_sizes)
    return outcomes_of(predictor, requests, signature_name)


def outcomes_of(
    predictor: Predictor, requests: Sequence[Request], signature_name: str = "serving_default"
) -> dict[str, Any]:
    """Return the same of one batch of a predictor that may have seen others.

    What the batch leaves for the next one has no outcome.
    """
    route = Route(ROUTE.servable, None, None, signature_name)
    batch = Batch(route, 0, list(requests), [], len(requests), 0.0)
    predicted = predictor.predict(batch)
    outgoing = Encoder("out", "dead", "w").encode(
        predicted, [_NO_METADATA] * len(predicted.answered()), predicted.rejections
    )
    found: dict[str, Any] = {}
    for polled, record, reason in zip(
        outgoing.polled, outgoing.records, outgoing.reasons, strict=True
    ):
        assert isinstance(polled, Request)
        message = dict(record.headers).get("kafka_dlt-exception-message")
        found[polled.input.record_id] = record.value if reason is None else (reason, message)
    assert len(outgoing.polled) == len(found) == len(batch.requests)
    assert [*batch.requests, *batch.left] == list(requests)
    return found
