"""One span a published record, from taking it to its acknowledgement, where anything is traced."""

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from topicserve import tracing
from topicserve.producer.encoder import EncodedRecord
from topicserve.wire.kafka_record import Place

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer


class PublishSpans:
    """Begins and ends the spans of one producer. Any thread may call it."""

    def __init__(self, tracer: "Tracer") -> None:
        self._tracer = tracer

    def begin(self, encoded: EncodedRecord, future: Future[Place]) -> EncodedRecord:
        """Begin a record's span, which its future ends, and let the record's headers tell of it.

        It belongs to the trace that the record names, or else to the one that the caller is in.
        """
        from opentelemetry.trace import SpanKind

        outgoing = encoded.outgoing
        parent = tracing.context_of(outgoing.headers)
        named = tracing.span_context_of(parent).is_valid
        with tracing.harmless():
            span = self._tracer.start_span(
                f"publish {outgoing.topic}",
                parent if named else None,
                SpanKind.PRODUCER,
                tracing.operation(
                    "publish", "send", [outgoing.topic], {tracing.MESSAGE_ID: encoded.record_id}
                ),
            )
            future.add_done_callback(lambda done: _end(span, done))
            outgoing = tracing.with_trace(outgoing, span)
        return encoded._replace(outgoing=outgoing)


def _end(span: "Span", done: Future[Any]) -> None:
    with tracing.harmless():
        if done.cancelled():
            tracing.fail(span, "cancelled", "the record was not sent")
        elif (error := done.exception()) is not None:
            tracing.fail(span, type(error).__name__, str(error))
        else:
            place: Place = done.result()
            span.set_attribute(tracing.PARTITION, str(place.partition))
            span.set_attribute(tracing.OFFSET, place.offset)
        span.end()
