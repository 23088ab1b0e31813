"""From a producer to a reader, with OpenTelemetry's own SDK and its exporter in memory."""

import logging
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from tests.support.stages.records import a_kafka_record, an_id
from tests.worker.test_pipeline import World, records
from topicserve.tracing import MAX_LINKS, context_of, is_sampled, span_context_of
from topicserve.tracing import trace_of as trace_of_headers
from topicserve.wire.kafka_record import KafkaRecord, OutgoingRecord
from topicserve.worker.config.dataref import DatarefConfig
from topicserve.worker.config.schema import Guarantee
from topicserve.worker.telemetry.logging import TextLines

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


def traceparent(number: int, *, is_sampled: bool = True) -> bytes:
    """Return the header of a record whose span has this number."""
    return f"00-{TRACE_ID}-{number + 1:016x}-0{int(is_sampled)}".encode()


def traced(count: int, *, is_sampled: bool = True) -> list[KafkaRecord]:
    """Return records that were published within a trace."""
    return [
        a_kafka_record(
            number,
            float(number),
            partition=number % 3,
            headers=[("traceparent", traceparent(number, is_sampled=is_sampled))],
        )
        for number in range(count)
    ]


class TracedWorld(World):
    """A pipeline in memory whose spans are kept."""

    def __init__(
        self,
        given: Sequence[KafkaRecord],
        guarantee: Guarantee,
        dataref: DatarefConfig = DatarefConfig(),  # noqa: B008 - frozen
        **delivery: Any,
    ) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        super().__init__(given, guarantee, tracer_provider=provider, dataref=dataref, **delivery)

    def spans(self, name: str) -> list[ReadableSpan]:
        """Return the spans of a name that have ended."""
        return [span for span in self._exporter.get_finished_spans() if span.name == name]


@pytest.fixture(params=list(Guarantee), ids=lambda guarantee: guarantee.value)
def guarantee(request: pytest.FixtureRequest) -> Guarantee:
    """Return each guarantee in turn."""
    found: Guarantee = request.param
    return found


def trace_of(record: OutgoingRecord) -> list[str]:
    """Return the parts of a record's traceparent."""
    (found,) = [value for name, value in record.headers if name == "traceparent"]
    assert found is not None
    return found.decode().split("-")


def told(span: ReadableSpan) -> dict[str, Any]:
    """Return a span's attributes."""
    return dict(span.attributes or {})


def links_of(span: ReadableSpan) -> set[int]:
    """Return the numbers of the records that a span is linked to."""
    return {link.context.span_id - 1 for link in span.links}


def test_each_operation_has_its_span_by_the_conventions(guarantee: Guarantee) -> None:
    """Names are the operation and the topic; all sampled records are linked."""
    world = TracedWorld(traced(20), guarantee)

    world.run()

    polls, batches, sent = (world.spans(name) for name in ("poll in", "process in", "send out"))
    for spans, operation, kind in (
        (polls, "receive", SpanKind.CLIENT),
        (batches, "process", SpanKind.CONSUMER),
    ):
        assert set().union(*map(links_of, spans)) == set(range(20))
        assert sum(told(span)["messaging.batch.message_count"] for span in spans) == 20
        for span in spans:
            attributes = told(span)
            assert span.kind is kind
            assert attributes["messaging.system"] == "kafka"
            assert attributes["messaging.operation.type"] == operation
            assert attributes["messaging.destination.name"] == "in"
            assert attributes["messaging.consumer.group.name"]
    assert len(sent) == 20
    settled = world.spans("commit in")
    assert settled
    assert {told(span)["messaging.operation.type"] for span in settled} == {"settle"}


def test_a_reader_goes_on_with_the_trace_that_the_producer_began(guarantee: Guarantee) -> None:
    """The result names our span, which is a child of the producer's and is linked to the batch."""
    world = TracedWorld(traced(5), guarantee)

    world.run()

    sent = {told(span)["messaging.message.id"]: span for span in world.spans("send out")}
    batches = {span.context.span_id for span in world.spans("process in")}
    for number in range(5):
        (result,) = [one for one in world.log.published if one_id(one) == an_id(number)]
        span = sent[an_id(number)]
        assert trace_of(result) == ["00", TRACE_ID, f"{span.context.span_id:016x}", "01"]
        assert span.kind is SpanKind.PRODUCER
        assert span.parent is not None
        assert span.parent.span_id == number + 1
        assert [link.context.span_id in batches for link in span.links] == [True]
        attributes = told(span)
        assert attributes["messaging.destination.name"] == "out"
        assert attributes["topicserve.input.topic"] == "in"
        assert attributes["topicserve.input.partition"] == str(number % 3)
        assert attributes["topicserve.input.offset"] == number
        # What a send's own would be: of the input they say nothing true about the output.
        assert not attributes.keys() & {
            *("messaging.destination.partition.id", "messaging.kafka.offset"),
            "messaging.consumer.group.name",
        }


def test_the_steps_of_a_batch_are_within_its_span(guarantee: Guarantee) -> None:
    """Predicting, joining and encoding, with what they were about."""
    world = TracedWorld(traced(3), guarantee)

    world.run()

    batches = {span.context.span_id: span for span in world.spans("process in")}
    for name in ("predict", "join", "encode"):
        spans = world.spans(name)
        assert len(spans) == len(batches)
        assert {span.parent.span_id for span in spans if span.parent} == batches.keys()
    (predicted, *_) = world.spans("predict")
    assert told(predicted)["topicserve.version"] == 1


def test_a_dead_letter_is_an_error_with_its_reason(guarantee: Guarantee) -> None:
    """`error.type` is the reason code; its trace goes on, too."""
    bad = a_kafka_record(0, value=b"{", headers=[("traceparent", traceparent(0))])
    world = TracedWorld([bad, *traced(4)[1:]], guarantee)

    world.run()

    (span,) = world.spans("send dead")
    assert told(span)["error.type"] == "invalid_record"
    assert span.status.status_code is StatusCode.ERROR
    (letter,) = [one for one in world.log.published if one.topic == "dead"]
    assert trace_of(letter)[1:3] == [TRACE_ID, f"{span.context.span_id:016x}"]
    assert len(world.spans("send out")) == 3


def test_records_that_are_not_sampled_keep_their_headers(guarantee: Guarantee) -> None:
    """They have no span of their own, and none is linked to them; their trace goes through."""
    world = TracedWorld([*traced(4, is_sampled=False), *records(8)[4:]], guarantee)

    world.run()

    assert not any(span.links for span in world.spans("process in"))
    assert world.spans("send out") == []
    (result,) = [one for one in world.log.published if one_id(one) == an_id(2)]
    assert trace_of(result) == traceparent(2, is_sampled=False).decode().split("-")


def test_without_a_provider_nothing_is_traced() -> None:
    """The stages are the plain ones: nothing is paid for traces."""
    world = World(traced(3), Guarantee.AT_LEAST_ONCE)

    world.run()

    assert type(world.pipeline).__name__ == "Pipeline"
    assert world.stages.inference.predictor.__class__.__name__ == "Predictor"
    (result,) = [one for one in world.log.published if one_id(one) == an_id(1)]
    assert trace_of(result) == traceparent(1).decode().split("-")


_SPAN = "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("value", "is_ours"),
    [
        (f"00-{TRACE_ID}-{_SPAN}-01", True),
        (f"00-{TRACE_ID}-{_SPAN}-03", True),
        (f"01-{TRACE_ID}-{_SPAN}-01", True),
        (f"01-{TRACE_ID}-{_SPAN}-01-what-comes-later-00", True),
        (f"01-{TRACE_ID}-{_SPAN}-00-what-comes-later-01", False),
        (f"00-{TRACE_ID}-{_SPAN}-02", False),
        (f"00-{TRACE_ID}-{_SPAN}-01-more", False),
        (f"00-{TRACE_ID}-{_SPAN}-01-", False),
        (f"01-{TRACE_ID}-{_SPAN}-01more", False),
        (f"ff-{TRACE_ID}-{_SPAN}-01", False),
        (f"00-{TRACE_ID.upper()}-{_SPAN}-01", False),
        (f"00-{TRACE_ID}-{_SPAN.upper()}-01", False),
        (f"00-{'0' * 32}-{_SPAN}-01", False),
        (f"00-{TRACE_ID}-{'0' * 16}-01", False),
        (f"00-{TRACE_ID}-{_SPAN}-0", False),
        ("01", False),
        ("", False),
    ],
)
def test_a_traceparent_is_read_as_w3c_says(value: str, is_ours: bool) -> None:
    """One that is not valid, or not sampled, stays as it is, and its record gets no span."""
    record = a_kafka_record(0, 1.0, headers=[("traceparent", value.encode())])
    world = TracedWorld([record], Guarantee.AT_LEAST_ONCE)

    world.run()

    (result,) = world.log.published
    sent = world.spans("send out")
    assert [link.context.trace_id for link in world.spans("process in")[0].links] == (
        [int(TRACE_ID, 16)] if is_ours else []
    )
    if is_ours:
        (span,) = sent
        assert span.parent is not None
        assert f"{span.parent.span_id:016x}" == _SPAN
        # What is handed on is of the version that we know.
        flags = span.context.trace_flags
        assert trace_of(result) == ["00", TRACE_ID, f"{span.context.span_id:016x}", f"{flags:02x}"]
    else:
        assert sent == []
        assert "-".join(trace_of(result)) == value


@given(
    st.binary(max_size=60) | st.from_regex(rb"[0-9a-fA-F]{2}-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]-?")
)
def test_what_is_sampled_has_a_context_by_the_sdks_own_reading(value: bytes) -> None:
    """Whatever stands in the header: a span is begun where it has a parent, and nowhere else."""
    headers = [("traceparent", value)]

    found = span_context_of(context_of(headers))

    if is_sampled(headers):
        assert found.is_valid
        assert found.trace_flags.sampled
        assert trace_of_headers(headers) == {"trace_id": f"{found.trace_id:032x}"}


def test_the_last_traceparent_counts() -> None:
    """As for every header: clients append theirs."""
    first, last = traceparent(1), traceparent(2, is_sampled=False)

    assert is_sampled([("traceparent", last), ("traceparent", first)])
    assert not is_sampled([("traceparent", first), ("traceparent", last)])


def test_log_lines_name_the_trace_that_they_belong_to() -> None:
    """Those of a batch, that is; others have no such field."""
    line = logging.LogRecord("topicserve", logging.INFO, "", 0, "hello", (), None)
    tracer = TracerProvider().get_tracer("test")

    with tracer.start_as_current_span("process in") as span:
        inside = TextLines().format(line)

    assert f"trace_id={span.get_span_context().trace_id:032x}" in inside
    assert "trace_id" not in TextLines().format(line)


def test_a_batch_is_linked_to_as_many_records_as_sdks_keep() -> None:
    """More would be dropped by the SDK, after they were paid for."""
    from topicserve.tracing import links_to

    assert len(links_to(record.headers for record in traced(MAX_LINKS + 50))) == MAX_LINKS


class RaisingProcessor(SpanProcessor):
    """An SDK's part that raises at the beginning or at the end of each span."""

    def __init__(self, when: str) -> None:
        self._when = when

    def on_start(self, span: Any, parent_context: Any = None) -> None:  # noqa: ARG002
        if self._when == "start":
            raise RuntimeError("the exporter is broken")

    def on_end(self, span: Any) -> None:  # noqa: ARG002
        if self._when == "end":
            raise RuntimeError("the exporter is broken")


@pytest.mark.parametrize("when", ["start", "end"])
def test_an_sdk_that_raises_harms_no_record(when: str, guarantee: Guarantee) -> None:
    """Every record is answered and committed; the log tells what is wrong."""
    provider = TracerProvider()
    provider.add_span_processor(RaisingProcessor(when))
    world = World(traced(20), guarantee, tracer_provider=provider)

    world.run()

    assert sorted(world.log.ids()) == sorted(an_id(number) for number in range(20))
    assert sum(world.log.committed.values()) == sum(range(18, 21))
    assert world.stages.intake.tracker.in_flight_records == 0


def one_id(record: OutgoingRecord) -> str:
    """Return the id of a record that came out."""
    return next((value or b"").decode() for name, value in record.headers if name == "ce_id")
