"""The spans of a worker: what it receives, processes, sends and settles.

A batch is one span, linked to the sampled records in it. What is sent is one span a sampled record,
in that record's own trace and linked to the batch's span; its `traceparent` goes with the result,
so that a reader goes on with the trace that the producer began.
"""

import threading
import time
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from opentelemetry.context import attach, detach
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    Span,
    SpanKind,
    Tracer,
    get_current_span,
    set_span_in_context,
)

from topicserve import tracing
from topicserve.backends.references.allow_list import Location
from topicserve.wire.kafka_record import Headers, KafkaRecord, OutgoingRecord
from topicserve.worker.stages.publish import OutgoingBatch
from topicserve.worker.stages.request import Batch, Polled, Rejection, Request
from topicserve.worker.tracing.transaction import ABORTED_TYPE, TRANSACTION, SentInTransaction

MAX_OPEN_SPANS = 16_384
"""Of records that are not acknowledged. The oldest is ended where there is one more: an outcome may
have been let go unsent, with its partition or an aborted transaction."""


class Step:
    """The span of one step of a batch, to be told what the step found."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def tell(self, **attributes: Any) -> None:
        """Add attributes."""
        with _harmless():
            self._span.set_attributes(_named(attributes))

    def fail(self, rejections: Sequence[Rejection]) -> None:
        """Mark the step as failed where it gave records up: with the first one's reason."""
        if rejections:
            with _harmless():
                problem = f"{len(rejections)} records were given up"
                tracing.fail(self._span, rejections[0].reason.value, problem)


class WorkerSpans:
    """Begins and ends a worker's spans. Any thread may call it."""

    def __init__(self, tracer: Tracer, group: str, client_id: str) -> None:
        self._tracer = tracer
        self._sends = {tracing.CLIENT: client_id}
        self._common = {tracing.GROUP: group, **self._sends}
        self._lock = threading.Lock()
        self._sending: dict[bytes, Span] = {}
        """By the traceparent that goes with the record; guarded by `_lock`."""
        # What threads are at: each sets and removes its own at once, without a lock.
        self._unfinished: dict[int, Span] = {}

    @contextmanager
    def receive(self, records: Sequence[KafkaRecord]) -> Generator[None]:
        """Be taking in records that were polled."""
        count = {tracing.MESSAGE_COUNT: len(records)}
        links = tracing.links_to(record.headers for record in records)
        with self._operation("poll", "receive", _topics(records), SpanKind.CLIENT, count, links):
            yield

    @contextmanager
    def process(self, batch: Batch) -> Generator[None]:
        """Be processing a batch, on this thread; its spans are children of this one."""
        polled: list[Polled] = [*batch.requests, *(one.polled for one in batch.rejections)]
        records = [one.record for one in polled]
        attributes: dict[str, Any] = {tracing.MESSAGE_COUNT: len(records)}
        if len(polled) == 1:
            attributes |= _place(polled[0])
        links = tracing.links_to(record.headers for record in records)
        topics = _topics(records)
        with self._operation("process", "process", topics, SpanKind.CONSUMER, attributes, links):
            yield

    @contextmanager
    def step(self, name: str, **attributes: Any) -> Generator[Step]:
        """Be at one step of what this thread processes."""
        with self._current(name, attributes=_named(attributes)) as span:
            yield Step(span)

    @contextmanager
    def fetch(self, request: Request, location: Location) -> Generator[None]:
        """Be fetching the body of a record, in its own trace."""
        if not tracing.is_sampled(request.record.headers):
            yield
            return
        about = {tracing.MESSAGE_ID: request.input.record_id, "topicserve.url": location.url}
        context = tracing.context_of(request.record.headers)
        with self._current("fetch", context=context, kind=SpanKind.CLIENT, attributes=about):
            yield

    @contextmanager
    def settle(self, topics: Collection[str], began: int | None = None) -> Generator[None]:
        """Be committing offsets of these topics, or a transaction; since now, if not since then."""
        with self._operation("commit", "settle", topics, SpanKind.CLIENT, began=began):
            yield

    @contextmanager
    def add_offsets(self, topics: Collection[str]) -> Generator[None]:
        """Be making offsets part of a transaction: a commit that has ended, where it fails."""
        began = time.time_ns()
        try:
            yield
        except Exception:
            with self.settle(topics, began):
                raise

    @contextmanager
    def abort(self, topics: Collection[str], sent: SentInTransaction) -> Generator[None]:
        """Be aborting a transaction: its span is an error, and linked to those of what was sent."""
        links: list[Link] = []
        with _harmless():
            links = sent.links()
        about = {TRANSACTION: sent.aborted}
        with self._operation("abort", "settle", topics, SpanKind.CLIENT, about, links):
            yield
            with _harmless():
                tracing.fail(get_current_span(), ABORTED_TYPE, "the transaction was aborted")

    def send(self, outgoing: OutgoingBatch) -> None:
        """Begin a span for each sampled record's outcome, and let its headers tell of that."""
        links: list[Link] = []
        with _harmless():
            links = [Link(get_current_span().get_span_context())]
        begun = 0
        for index, polled in enumerate(outgoing.polled):
            if not tracing.is_sampled(polled.record.headers):
                continue
            record, reason = outgoing.records[index], outgoing.reasons[index]
            with _harmless():
                span = self._tracer.start_span(
                    f"send {record.topic}",
                    tracing.context_of(polled.record.headers),
                    SpanKind.PRODUCER,
                    tracing.operation("send", "send", [record.topic], self._sends | _input(polled)),
                    links,
                )
                if reason is not None:
                    tracing.fail(span, reason.value, "the record became a dead letter")
                outgoing.records[index] = self._with_trace(record, span)
            begun += 1
            if begun == tracing.MAX_LINKS:
                return

    def sent(
        self,
        records: Sequence[OutgoingRecord],
        errors: Sequence[Exception | None],
        transaction: SentInTransaction | None = None,
    ) -> None:
        """End the spans of records that were acknowledged, or were not.

        Those that were acknowledged in a transaction end with that.
        """
        for record, error in zip(records, errors, strict=True):
            if not self._sending:
                return
            with self._lock:
                span = self._sending.pop(_traceparent(record.headers), None)
            if span is not None and error is None and transaction is not None:
                transaction.add(span)
            elif span is not None:
                with _harmless():
                    if error is not None:
                        tracing.fail(span, type(error).__name__, str(error))
                    span.end()

    def end_unfinished(self, error: BaseException | None) -> None:
        """End the spans of batches that the worker leaves unfinished, with the error that ends it.

        Their threads hang, or have been given all the time that a stop may take.
        """
        unfinished, self._unfinished = self._unfinished, {}
        kind = "unfinished" if error is None else type(error).__name__
        problem = "the worker stopped" if error is None else str(error)
        for span in reversed(list(unfinished.values())):
            with _harmless():
                tracing.fail(span, kind, problem)
                span.end()

    def _with_trace(self, record: OutgoingRecord, span: Span) -> OutgoingRecord:
        told = tracing.with_trace(record, span)
        with self._lock:
            self._sending[_traceparent(told.headers)] = span
            oldest = None
            if len(self._sending) > MAX_OPEN_SPANS:
                oldest = self._sending.pop(next(iter(self._sending)))
        if oldest is not None:
            with _harmless():
                oldest.end()
        return told

    @contextmanager
    def _current(self, name: str, **options: Any) -> Generator[Span]:
        """Be in a span; where the SDK raises there is none, and what is within goes on."""
        span: Span = INVALID_SPAN
        with _harmless():
            span = self._tracer.start_span(name, **options)
        token = attach(set_span_in_context(span))
        self._unfinished[id(span)] = span
        try:
            yield span
        except Exception as error:
            with _harmless():
                span.record_exception(error)
                tracing.fail(span, type(error).__name__, str(error))
            raise
        finally:
            detach(token)
            if self._unfinished.pop(id(span), None) is not None:
                with _harmless():
                    span.end()

    @contextmanager
    def _operation(
        self,
        name: str,
        kind: str,
        topics: Collection[str],
        span_kind: SpanKind,
        attributes: dict[str, Any] | None = None,
        links: Sequence[Link] = (),
        began: int | None = None,
    ) -> Generator[None]:
        with self._current(
            tracing.span_name(name, topics),
            kind=span_kind,
            attributes=tracing.operation(
                name, kind, topics, {**self._common, **(attributes or {})}
            ),
            links=links,
            start_time=began,
        ):
            yield


def _harmless() -> AbstractContextManager[None]:
    """Let nothing that an SDK raises end the worker, whose signal handlers raise nothing."""
    return tracing.harmless(passing=(KeyboardInterrupt,))


def _topics(records: Sequence[KafkaRecord]) -> set[str]:
    return {record.topic for record in records}


def _named(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {f"topicserve.{key}": value for key, value in attributes.items()}


def _input(polled: Polled) -> dict[str, Any]:
    """Return where an outcome comes from: a send's own partition and offset are the output's.

    Those are not asked for: clients tell them in one call a record.
    """
    record = polled.record
    found = {
        "topicserve.input.topic": record.topic,
        "topicserve.input.partition": str(record.partition),
        "topicserve.input.offset": record.offset,
    }
    if isinstance(polled, Request):
        found[tracing.MESSAGE_ID] = polled.input.record_id
    return found


def _place(polled: Polled) -> dict[str, Any]:
    record = polled.record
    found = {tracing.PARTITION: str(record.partition), tracing.OFFSET: record.offset}
    if isinstance(polled, Request):
        found[tracing.MESSAGE_ID] = polled.input.record_id
    return found


def _traceparent(headers: Headers) -> bytes:
    return next((value or b"" for name, value in headers if name == tracing.TRACEPARENT), b"")
