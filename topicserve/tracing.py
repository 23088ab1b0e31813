"""Traces by OpenTelemetry, where it is installed and an SDK is configured; else there are none.

Names follow OpenTelemetry's conventions for messaging and Kafka, 1.44. Only the API is used
(`topicserve[otel]`): which spans are kept and where they go is the SDK's business, which the
program that uses this one configures, or `opentelemetry-instrument` does.
"""

import logging
import re
import sys
from collections.abc import Collection, Generator, Iterable, Mapping
from contextlib import contextmanager
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from topicserve.wire.kafka_record import Headers, OutgoingRecord

_logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, Span, SpanContext, Tracer, TracerProvider

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"
MAX_LINKS = 128
"""As many links as OpenTelemetry's SDKs keep of a span, unless they are told otherwise."""

SYSTEM = "messaging.system"
OPERATION, OPERATION_TYPE = "messaging.operation.name", "messaging.operation.type"
DESTINATION, PARTITION = "messaging.destination.name", "messaging.destination.partition.id"
GROUP, CLIENT = "messaging.consumer.group.name", "messaging.client.id"
MESSAGE_COUNT, MESSAGE_ID = "messaging.batch.message_count", "messaging.message.id"
OFFSET = "messaging.kafka.offset"
ERROR_TYPE = "error.type"

# W3C Trace Context: 00 has four fields, a later version may have more behind them, ff is none.
_TRACEPARENT = re.compile(
    rb"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})(?P<trace>[0-9a-f]{32})"
    rb"-(?!0{16})[0-9a-f]{16}-[0-9a-f](?P<flag>[0-9a-f])(?P<more>-.*)?",
    re.DOTALL,
)
# Sampled is the last bit of the flags.
_SAMPLED = frozenset((b"1", b"3", b"5", b"7", b"9", b"b", b"d", b"f"))


def open_tracer(provider: "TracerProvider | None" = None) -> "Tracer | None":
    """Return a tracer of the provider given, or of the one that the program has configured.

    None where there is none: then nothing is traced, and nothing is paid for it. To be called once
    the SDK is configured.
    """
    try:
        from opentelemetry import trace
    except ImportError:
        return None
    if provider is None:
        provider = trace.get_tracer_provider()
        if isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider):
            return None
    return trace.get_tracer("topicserve", tracer_provider=provider)


def is_sampled(headers: Iterable[tuple[str, bytes | None]]) -> bool:
    """Tell whether a record's headers say that its trace is kept; most have none."""
    found = _traceparent(headers)
    return found is not None and found["flag"] in _SAMPLED


def trace_of(headers: Iterable[tuple[str, bytes | None]]) -> dict[str, Any]:
    """Return the field `trace_id` for a log line about a record; none where it has no trace."""
    found = _traceparent(headers)
    return {} if found is None else {"trace_id": found["trace"].decode()}


def _traceparent(headers: Iterable[tuple[str, bytes | None]]) -> "re.Match[bytes] | None":
    """Return the fields of the last traceparent; None where there is none, or it is not valid."""
    value = None
    for name, content in headers:
        if name == TRACEPARENT:
            value = content
    found = _TRACEPARENT.fullmatch(value) if value else None
    if found is None or (found["version"] == b"00" and found["more"] is not None):
        return None
    return found


def context_of(headers: Headers) -> "Context":
    """Return the context in which a record was published; an empty one where it is not valid."""
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = {
        name: value.decode("latin-1")
        for name, value in headers
        if name in (TRACEPARENT, TRACESTATE) and value is not None
    }
    return TraceContextTextMapPropagator().extract(carrier, Context())


def span_context_of(context: "Context") -> "SpanContext":
    """Return the span that a context is about; it is not valid where there is none."""
    from opentelemetry.trace import get_current_span

    return get_current_span(context).get_span_context()


def links_to(records: Iterable[Headers]) -> "list[Link]":
    """Return links to the records whose traces are kept, to the first `MAX_LINKS` of them."""
    from opentelemetry.trace import Link

    links: list[Link] = []
    for headers in records:
        if not is_sampled(headers):
            continue
        context = span_context_of(context_of(headers))
        if context.is_valid:
            links.append(Link(context))
            if len(links) == MAX_LINKS:
                break
    return links


def with_trace(record: OutgoingRecord, span: "Span") -> OutgoingRecord:
    """Return a record whose reader is told that it belongs to this span; as it is for none."""
    from opentelemetry.trace import set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    told: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(told, set_span_in_context(span))
    if not told:
        return record
    new = {name: value.encode() for name, value in told.items()}
    # In their places: which header is the last one means something to the worker.
    kept = [(name, new.pop(name, value)) for name, value in record.headers]
    return replace(record, headers=[*new.items(), *kept])


def operation(
    name: str, kind: str, topics: Collection[str], attributes: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the attributes of an operation: its name, its type and its topic, and others.

    Of several topics none is told: an attribute of a batch is true of all records in it.
    """
    found = {SYSTEM: "kafka", OPERATION: name, OPERATION_TYPE: kind}
    if len(topics) == 1:
        (found[DESTINATION],) = topics
    return {**found, **(attributes or {})}


def span_name(name: str, topics: Collection[str]) -> str:
    """Return an operation's name and its topic; of several topics the name alone."""
    return " ".join((name, *topics)) if len(topics) == 1 else name


@contextmanager
def harmless(
    *, passing: tuple[type[BaseException], ...] = (KeyboardInterrupt, SystemExit)
) -> Generator[None]:
    """Log what an SDK raises, SystemExit included, and go on without the span.

    `passing` is let through on the main thread, where signal handlers of the program may raise it.
    """
    try:
        yield
    except BaseException as error:
        if isinstance(error, passing) and current_thread() is main_thread():
            raise
        _logger.warning("a span could not be written", exc_info=True)


def current_trace_id() -> str | None:
    """Return the trace that this thread is in, 32 hexadecimal digits; None outside of any."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:  # nothing has asked for it, so nothing is traced
        return None
    context = trace.get_current_span().get_span_context()
    return format(context.trace_id, "032x") if context.is_valid else None


def fail(span: "Span", error_type: str, problem: str) -> None:
    """Mark what a span is about as failed."""
    from opentelemetry.trace import Status, StatusCode

    span.set_attribute(ERROR_TYPE, error_type)
    span.set_status(Status(StatusCode.ERROR, problem))
