"""The stages of one batch, one after the other, and anything at all to put through them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import orjson

from tests.support.servables.servables import Served
from tests.support.stages.environments import an_environment
from tests.support.stages.records import PARTITION, ManualClock, a_kafka_record, an_id
from topicserve.backends.errors import BackendUnavailableError
from topicserve.servables.kinds.servable import FeatureSpec, Signature, TensorSpec
from topicserve.wire.bodies.registry import Bodies
from topicserve.wire.dead_letter import Reason, decode_dead_letter
from topicserve.wire.kafka_record import KafkaRecord, OutgoingRecord
from topicserve.wire.result import decode_result
from topicserve.worker.assembly import limits_of
from topicserve.worker.config.schema import (
    BatchingConfig,
    DeliveryConfig,
    LimitsConfig,
    MetadataConfig,
)
from topicserve.worker.offsets.assignment import PartitionAssignment
from topicserve.worker.stages.batch_sizer import BatchSizer
from topicserve.worker.stages.calls.second_tries import SecondTries
from topicserve.worker.stages.decode import Decoder
from topicserve.worker.stages.join import Joiner
from topicserve.worker.stages.predict import Predictor
from topicserve.worker.stages.publish import Encoder
from topicserve.worker.stages.request import Batch
from topicserve.worker.stages.routing import Router

LARGE = np.dtype(np.float32)
_EXAMPLES = TensorSpec(np.dtype(object), ())
_FEATURES = {
    "n": FeatureSpec(np.dtype(np.int64), (None,)),
    "s": FeatureSpec(np.dtype(object), (None,)),
    "b": FeatureSpec(LARGE, (None,)),
}
SIGNATURES = {
    "serving_default": Signature({"x": TensorSpec(LARGE, (3,))}, {"y": TensorSpec(LARGE, (3,))}),
    "any": Signature({"x": TensorSpec(LARGE)}, {"y": TensorSpec(LARGE)}),
    "strings": Signature({"x": TensorSpec(np.dtype(object))}, {"y": TensorSpec(np.dtype(object))}),
    "mixed": Signature(
        {
            "n": TensorSpec(np.dtype(np.int64), (None,)),
            "s": TensorSpec(np.dtype(object), ()),
            "b": TensorSpec(np.dtype(np.bool_), (1,)),
        },
        {
            "n": TensorSpec(np.dtype(np.int64), (None,)),
            "s": TensorSpec(np.dtype(object), ()),
            "b": TensorSpec(np.dtype(np.bool_), (1,)),
        },
    ),
    "examples": Signature({"x": _EXAMPLES}, {"y": _EXAMPLES}, features=_FEATURES),
    "unseen": Signature({"x": _EXAMPLES}, {"y": _EXAMPLES}, features={}),
}


class Echo:
    """Answers each call with its own inputs, under the names of outputs."""

    signatures: Any = SIGNATURES

    def predict(self, inputs: Mapping[str, Any], signature_name: str = "serving_default") -> Any:  # noqa: ARG002
        return {"y" if name == "x" else name: column for name, column in inputs.items()}


class Answering(Echo):
    """Answers as `answer` says wherever the number 13 is among the first input's values."""

    def __init__(self, answer: Callable[[int], Any]) -> None:
        self.answer = answer
        self.calls = 0

    def predict(self, inputs: Mapping[str, Any], signature_name: str = "serving_default") -> Any:
        self.calls += 1
        x = inputs["x"]
        if (x == 13).any():
            return self.answer(len(x))
        return super().predict(inputs, signature_name)


class Store:
    """A metadata store with anything in it."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.content = content
        self.asked: Sequence[str] = ()

    def request_many(self, record_ids: Sequence[str]) -> "Store":
        if any("\0" in record_id for record_id in record_ids):
            raise BackendUnavailableError("not an id")
        self.asked = record_ids
        return self

    def result(self) -> list[Any]:
        return [self.content.get(record_id) for record_id in self.asked]

    def close(self) -> None:
        pass


class Line:
    """Decode, predict, join and encode, as a worker does with what one poll returns."""

    def __init__(
        self,
        servable: Any = None,
        metadata: Mapping[str, Any] | None = None,
        limits: LimitsConfig | None = None,
        bodies: Bodies | None = None,
        **batching: Any,
    ) -> None:
        environment = an_environment(
            clock=ManualClock(),
            batching=BatchingConfig(**{"check_batches": 0} | batching),
            delivery=DeliveryConfig(unknown_version_timeout_seconds=0.0),
        )
        served = Served({1: servable or Echo()})
        router = Router((), lambda: ["digits"], "", environment.metrics)
        self.decoder = Decoder(router, limits_of(limits or LimitsConfig()), bodies)
        tries = SecondTries()
        self.predictor = Predictor(environment, served, BatchSizer(1024, 0), tries=tries)
        self.joiner = Joiner(
            Store(metadata or {}),  # type: ignore[arg-type]  # the other calls are not made
            MetadataConfig(),
            environment.retry_loop,
            environment.metrics,
            environment.clock,
        )
        self.encoder = Encoder("out", "dead", "worker-1", tries)
        self.assignment = PartitionAssignment(PARTITION)

    def run(self, *records: KafkaRecord) -> dict[int, OutgoingRecord]:
        """Return the outcome of each record by its offset, each exactly once."""
        requests, rejections = self.decoder.decode(
            records, [self.assignment] * len(records), 1000.0
        )
        outcomes: dict[int, OutgoingRecord] = {}
        batches = [
            Batch(route, 0, [r for r in requests if r.route == route], [], 0, 0.0)
            for route in dict.fromkeys(request.route for request in requests)
        ]
        while batches:
            batch = batches.pop(0)
            fetch = self.joiner.start(batch.requests)
            predicted = self.predictor.predict(batch)
            if batch.left:
                batches.insert(0, batch.rest())
            joined = self.joiner.finish(predicted.answered(), fetch)
            refused = [*rejections, *predicted.rejections, *joined.rejections]
            outgoing = self.encoder.encode(predicted, joined.metadata, refused)
            self._note(outcomes, outgoing)
            if outgoing.again:
                batches.append(replace(batch, requests=outgoing.again))
            rejections = []
        if rejections:
            nothing = self.predictor.predict(Batch(batch_route(), 0, [], [], 0, 0.0))
            self._note(outcomes, self.encoder.encode(nothing, [], rejections))
        return outcomes

    def _note(self, outcomes: dict[int, OutgoingRecord], outgoing: Any) -> None:
        for polled, record in zip(outgoing.polled, outgoing.records, strict=True):
            assert polled.record.offset not in outcomes
            outcomes[polled.record.offset] = record


def batch_route() -> Any:
    """Return the route of a batch that has rejections alone."""
    from topicserve.worker.stages.request import Route

    return Route("", None, None, "")


def reason_of(outcome: OutgoingRecord) -> Reason | None:
    """Return why a record was given up; None for a result. Reads it as a reader would."""
    read = KafkaRecord(outcome.topic, 0, 0, 0, outcome.key, outcome.value, outcome.headers)
    if outcome.topic == "dead":
        return decode_dead_letter(read).reason
    decode_result(read)
    return None


def message_of(outcome: OutgoingRecord) -> str:
    """Return what a dead letter says."""
    return dict(outcome.headers)["kafka_dlt-exception-message"].decode()  # type: ignore[union-attr]


def good(offset: int, **changes: Any) -> KafkaRecord:
    """Return a record that every servable here answers."""
    return a_kafka_record(offset, [1.0, 2.0, 3.0], **changes)


def odd(offset: int = 1) -> KafkaRecord:
    """Return the record that `Answering` has an answer of its own for."""
    return a_kafka_record(offset, [13.0, 2.0, 3.0])


def check_alone(line: Line, poison: KafkaRecord) -> OutgoingRecord:
    """Put a record through between good ones; return its outcome, theirs being results."""
    outcomes = line.run(good(0), poison, good(2))
    assert set(outcomes) == {0, 1, 2}
    assert reason_of(outcomes[0]) is None
    assert reason_of(outcomes[2]) is None
    reason_of(outcomes[1])
    return outcomes[1]


def body(tree: Any) -> bytes:
    """Return a value as JSON."""
    return orjson.dumps(tree)


def found(offsets: Sequence[int], content: Any) -> dict[str, Any]:
    """Return the same metadata for these records."""
    return {an_id(offset): content for offset in offsets}
