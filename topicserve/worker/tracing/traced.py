"""Puts spans around what the stages do. Without a tracer none of this is imported.

Each wrapper adds a span to one or two calls; everything else is its inner object's own.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any, cast

from topicserve.backends.broker import Consumer, Offsets, OnDelivery, Places, Producer
from topicserve.backends.errors import BackendUnavailableError
from topicserve.wire.kafka_record import KafkaRecord, OutgoingRecord
from topicserve.wire.result import Metadata
from topicserve.worker.assembly import Connections
from topicserve.worker.parts import Stages
from topicserve.worker.pipeline import Pipeline
from topicserve.worker.runtime.environment import Environment
from topicserve.worker.stages.join import Fetch, Joiner, MetadataLookup
from topicserve.worker.stages.predict import Predictor
from topicserve.worker.stages.publish import Encoder, OutgoingBatch
from topicserve.worker.stages.request import Batch, BatchPrediction, Rejection, Request
from topicserve.worker.tracing.spans import WorkerSpans
from topicserve.worker.tracing.transaction import SentInTransaction


def traced_connections(
    connections: Connections, spans: WorkerSpans, environment: Environment
) -> Connections:
    """Return connections whose commits and sent records are traced."""
    topics = frozenset(environment.config.topics.input)
    return Connections(
        cast(Consumer, _TracedConsumer(connections.consumer, spans)),
        cast(Producer, _TracedProducer(connections.producer, spans, topics)),
        connections.store,
        connections.cleaner,
    )


def trace_stages(stages: Stages, spans: WorkerSpans) -> None:
    """Let the steps of a batch be traced."""
    inference, output = stages.inference, stages.output
    inference.predictor = cast(Predictor, _TracedPredictor(inference.predictor, spans))
    inference.joiner = cast(Joiner, _TracedJoiner(inference.joiner, spans))
    if stages.intake.fetcher is not None:
        stages.intake.fetcher.threads.observe = spans.fetch
    if output.large is not None:
        output.large.observe = lambda size: spans.step("store", bytes=size)
    output.encoder = cast(Encoder, _TracedEncoder(output.encoder, spans))


class TracedPipeline(Pipeline):
    """A pipeline with a span for each poll that brought records, and for each batch."""

    def __init__(self, stages: Stages, environment: Environment, spans: WorkerSpans) -> None:
        super().__init__(stages, environment)
        self._spans = spans

    def run(self, stop: Callable[[], bool]) -> None:
        """Serve until asked to stop; no span stays open then, of a batch that hangs neither."""
        try:
            super().run(stop)
        finally:
            self._spans.end_unfinished(self._fatal.error)

    def serve(self, batch: Batch) -> None:
        """Process one batch within its span."""
        with self._spans.process(batch):
            super().serve(batch)

    def _take_in(self, records: Sequence[KafkaRecord]) -> None:
        with self._spans.receive(records):
            super()._take_in(records)


class _Traced:
    """Everything of an inner object, but what a subclass has itself."""

    def __init__(self, inner: Any, spans: WorkerSpans) -> None:
        self._inner = inner
        self._spans = spans

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _TracedPredictor(_Traced):
    def predict(self, batch: Batch) -> BatchPrediction:
        with self._spans.step("predict", servable=batch.route.servable, rows=batch.rows) as step:
            predicted: BatchPrediction = self._inner.predict(batch)
            step.tell(version=predicted.version)
            step.fail(predicted.rejections)
            return predicted


class _TracedJoiner(_Traced):
    def finish(self, requests: Sequence[Request], fetch: Fetch) -> MetadataLookup:
        with self._spans.step("join", records=len(requests)) as step:
            found: MetadataLookup = self._inner.finish(requests, fetch)
            step.fail(found.rejections)
            return found


class _TracedEncoder(_Traced):
    def encode(
        self, predicted: BatchPrediction, metadata: Sequence[Metadata], rejections: list[Rejection]
    ) -> OutgoingBatch:
        before = len(rejections)
        about = {"servable": predicted.servable, "version": predicted.version}
        with self._spans.step("encode", **about) as step:
            outgoing: OutgoingBatch = self._inner.encode(predicted, metadata, rejections)
            step.tell(records=len(outgoing.polled))
            step.fail(rejections[before:])
        self._spans.send(outgoing)
        return outgoing


class _TracedConsumer(_Traced):
    def commit(self, offsets: Offsets, timeout_seconds: float) -> None:
        with self._spans.settle({partition.topic for partition in offsets}):
            self._inner.commit(offsets, timeout_seconds)


class _TracedProducer(_Traced):
    """One thread at a time has the transaction, as with any producer."""

    def __init__(self, inner: Any, spans: WorkerSpans, topics: Collection[str]) -> None:
        super().__init__(inner, spans)
        self._topics = topics
        self._transaction: SentInTransaction | None = None

    def begin_transaction(self) -> None:
        self._inner.begin_transaction()
        self._transaction = SentInTransaction()

    def send(
        self,
        records: Sequence[OutgoingRecord],
        on_delivery: OnDelivery,
        timeout_seconds: float | None = None,
        places: Places | None = None,
    ) -> None:
        transaction = self._transaction

        def delivered(errors: Sequence[Any]) -> None:
            self._spans.sent(records, errors, transaction)
            on_delivery(errors)

        self._inner.send(records, delivered, timeout_seconds, places)

    def send_offsets_to_transaction(
        self, offsets: Offsets, group_metadata: Any, timeout_seconds: float
    ) -> None:
        with self._spans.add_offsets(self._topics):
            self._inner.send_offsets_to_transaction(offsets, group_metadata, timeout_seconds)

    def commit_transaction(self, timeout_seconds: float) -> None:
        transaction = self._transaction
        try:
            with self._spans.settle(self._topics):
                self._inner.commit_transaction(timeout_seconds)
        except BackendUnavailableError:
            if transaction is not None:
                transaction.is_in_doubt = True
            raise
        if transaction is not None:
            transaction.committed()

    def abort_transaction(self, timeout_seconds: float) -> None:
        transaction, abort = self._transaction, self._inner.abort_transaction
        if transaction is None:
            abort(timeout_seconds)
            return
        with self._spans.abort(self._topics, transaction):
            abort(timeout_seconds)
        transaction.abort()
        self._transaction = None
