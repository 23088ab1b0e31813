"""What the spans of a worker say of several topics, and what an SDK that raises does to it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from threading import Thread
from typing import Any, NoReturn

import pytest
from msgspec.structs import replace
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler

from tests.support.references.scripted_store import a_store_with
from tests.support.stages.records import ROUTE, a_kafka_record, a_request, an_id
from tests.worker.test_pipeline import World
from tests.worker.tracing.test_traces import TRACE_ID, TracedWorld, told, traced, traceparent
from topicserve.tracing import harmless
from topicserve.wire.dead_letter import decode_dead_letter
from topicserve.wire.dead_letter_replay import replay_of
from topicserve.wire.kafka_record import KafkaRecord
from topicserve.worker.config.dataref import DatarefConfig
from topicserve.worker.config.schema import Guarantee
from topicserve.worker.stages.request import Batch
from topicserve.worker.tracing.spans import WorkerSpans

Operation = Callable[[WorkerSpans, list[str]], AbstractContextManager[None]]


def polled(spans: WorkerSpans, topics: list[str]) -> AbstractContextManager[None]:
    """Be in the span of a poll."""
    return spans.receive([a_kafka_record(topic=topic) for topic in topics])


def processed(spans: WorkerSpans, topics: list[str]) -> AbstractContextManager[None]:
    """Be in the span of a batch."""
    requests = [replace(a_request(), record=a_kafka_record(topic=topic)) for topic in topics]
    return spans.process(Batch(ROUTE, 0, requests, [], len(requests), 0.0))


def committed(spans: WorkerSpans, topics: list[str]) -> AbstractContextManager[None]:
    """Be in the span of a commit."""
    return spans.settle(set(topics))


@pytest.mark.parametrize(
    ("name", "operation"), [("poll", polled), ("process", processed), ("commit", committed)]
)
def test_a_span_names_its_topic_only_where_that_is_one(name: str, operation: Operation) -> None:
    """OpenTelemetry's conventions: an attribute of a batch applies to all messages in it."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    spans = WorkerSpans(provider.get_tracer("test"), "g", "c")

    for topics in (["in", "in"], ["in", "other"]):
        with operation(spans, topics):
            pass

    one, several = exporter.get_finished_spans()
    assert (one.name, told(one)["messaging.destination.name"]) == (f"{name} in", "in")
    assert several.name == name
    assert "messaging.destination.name" not in told(several)
    assert told(several)["messaging.operation.name"] == name


def test_each_step_says_what_it_was_about() -> None:
    """The attributes that docs/traces.md lists; `error.type` where records were given up."""
    bad = a_kafka_record(1, "no number", partition=1)
    world = TracedWorld([*traced(1), bad], Guarantee.AT_LEAST_ONCE)

    world.run()

    steps = {name: world.spans(name) for name in ("predict", "join", "encode")}
    for name, of_batch in (
        ("predict", {"topicserve.servable": ROUTE.servable, "topicserve.version": 1}),
        ("join", {}),
        ("encode", {"topicserve.servable": ROUTE.servable, "topicserve.version": 1}),
    ):
        for span in steps[name]:
            assert of_batch.items() <= told(span).items()
    assert sum(told(span)["topicserve.records"] for span in steps["encode"]) == 2
    assert sum(told(span)["topicserve.rows"] for span in steps["predict"]) >= 1
    assert sum(told(span)["topicserve.records"] for span in steps["join"]) == 1
    failed = {told(span).get("error.type") for span in steps["predict"]} - {None}
    assert failed == {"invalid_input"}


def test_a_step_that_raises_is_an_error_by_its_type() -> None:
    """Whatever it is: the span ends, and the error goes on."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    spans = WorkerSpans(provider.get_tracer("test"), "g", "c")

    with pytest.raises(ValueError, match="no"), spans.step("join", records=1):
        raise ValueError("no")

    (span,) = exporter.get_finished_spans()
    assert told(span) == {"topicserve.records": 1, "error.type": "ValueError"}
    assert [event.name for event in span.events] == ["exception"]


def test_the_replay_of_a_dead_letter_goes_on_with_its_trace() -> None:
    """Its `traceparent` names the span of the dead letter, as docs/dead_letters.md says."""
    (good,) = traced(1)
    bad = KafkaRecord("in", 0, 0, 1, None, b"{", good.headers)
    world = TracedWorld([bad], Guarantee.AT_LEAST_ONCE)

    world.run()

    (letter,) = world.log.published
    (span,) = world.spans("send dead")
    read = KafkaRecord("dead", 0, 0, 1, letter.key, letter.value, letter.headers)
    replayed = replay_of(decode_dead_letter(read), "in")
    (traceparent,) = [value for name, value in replayed.headers if name == "traceparent"]
    (before,) = [value for name, value in good.headers if name == "traceparent"]
    assert before is not None
    assert traceparent is not None
    assert traceparent.split(b"-")[1] == before.split(b"-")[1]
    assert traceparent.split(b"-")[2] == f"{span.context.span_id:016x}".encode()


def refuse(*_: Any, **__: Any) -> NoReturn:
    """Raise what ends a program."""
    raise SystemExit("the SDK gives up")


class Refusing(SpanProcessor, SpanExporter, Sampler):
    """An SDK's part, of which a test says what raises; the rest does nothing."""

    def get_description(self) -> str:
        return "refusing"

    def should_sample(self, *arguments: Any, **others: Any) -> Any:
        return ALWAYS_ON.should_sample(*arguments, **others)

    def export(self, spans: Any) -> Any:  # noqa: ARG002
        return None

    def shutdown(self) -> None:
        """Nothing is to be ended."""


def with_processor(hook: str) -> TracerProvider:
    """Return a provider with a processor of which one hook raises."""
    provider, part = TracerProvider(), Refusing()
    setattr(part, hook, refuse)
    provider.add_span_processor(part)
    return provider


def with_sampler() -> TracerProvider:
    """Return a provider whose sampler raises."""
    part = Refusing()
    part.should_sample = refuse  # type: ignore[method-assign]
    return TracerProvider(sampler=part)


def with_ids(hook: str) -> TracerProvider:
    """Return a provider whose ids raise."""
    ids = RandomIdGenerator()
    setattr(ids, hook, refuse)
    return TracerProvider(id_generator=ids)


def with_exporter() -> TracerProvider:
    """Return a provider whose exporter raises."""
    provider, part = TracerProvider(), Refusing()
    part.export = refuse  # type: ignore[method-assign]
    provider.add_span_processor(SimpleSpanProcessor(part))
    return provider


class RefusingSpans(SpanProcessor):
    """Lets every method of a span raise that has begun."""

    def on_start(self, span: Span, parent_context: Any = None) -> None:  # noqa: ARG002
        for method in ("set_attribute", "set_attributes", "set_status", "record_exception", "end"):
            setattr(span, method, refuse)

    def on_end(self, span: ReadableSpan) -> None:
        """No span comes to its end."""


def with_spans() -> TracerProvider:
    """Return a provider whose spans raise once they have begun."""
    provider = TracerProvider()
    provider.add_span_processor(RefusingSpans())
    return provider


@pytest.mark.parametrize(
    "provider",
    [
        pytest.param(lambda: with_processor("on_start"), id="on_start"),
        pytest.param(lambda: with_processor("on_end"), id="on_end"),
        pytest.param(lambda: with_ids("generate_span_id"), id="generate_span_id"),
        pytest.param(lambda: with_ids("generate_trace_id"), id="generate_trace_id"),
        pytest.param(with_sampler, id="should_sample"),
        pytest.param(with_exporter, id="export"),
        pytest.param(with_spans, id="span"),
    ],
)
@pytest.mark.parametrize("guarantee", list(Guarantee))
def test_nothing_that_an_sdk_raises_ends_a_worker(
    provider: Callable[[], TracerProvider], guarantee: Guarantee
) -> None:
    """Not even SystemExit, on the polling thread or another: all records are answered."""
    bad = a_kafka_record(6, value=b"{", headers=[("traceparent", traced_header(6))])
    world = World([*traced(6), bad], guarantee, tracer_provider=provider())

    world.run()

    assert sorted(world.log.ids()) == sorted(an_id(number) for number in range(7))
    assert world.stages.intake.tracker.in_flight_records == 0


def traced_header(number: int) -> bytes:
    """Return the traceparent of a record."""
    return next(value or b"" for name, value in traced(number + 1)[-1].headers if "parent" in name)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_a_signal_handler_raises_passes_on_the_main_thread_alone(
    error: type[BaseException],
) -> None:
    """There a program's own handler may have raised it; elsewhere only the SDK can have."""
    with pytest.raises(error), harmless():
        raise error
    ended: list[str] = []

    def elsewhere() -> None:
        with harmless():
            raise error
        ended.append("well")

    thread = Thread(target=elsewhere)
    thread.start()
    thread.join()

    assert ended == ["well"]


def test_a_fetch_is_a_span_in_its_records_own_trace() -> None:
    """With the URL, without its query; a record that is not sampled has none."""
    prefix = a_store_with({"0": b'{"instance": 1.0}'})
    records = [
        a_kafka_record(
            number,
            value=None,
            partition=number,
            headers=[
                ("ce_dataref", f"{prefix}/{number}".encode()),
                ("traceparent", traceparent(number, is_sampled=number < 2)),
            ],
        )
        for number in range(3)
    ]
    world = TracedWorld(records, Guarantee.AT_LEAST_ONCE, DatarefConfig(allow=(prefix,)))

    world.run()

    spans = {told(span)["messaging.message.id"]: span for span in world.spans("fetch")}
    assert set(spans) == {an_id(0), an_id(1)}
    assert told(spans[an_id(0)])["topicserve.url"] == f"{prefix}/0"
    assert told(spans[an_id(1)])["error.type"] == "BodyNotFoundError"
    for span in spans.values():
        assert span.context is not None
        assert f"{span.context.trace_id:032x}" == TRACE_ID
