import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from tests.support.kafka.kafka_doubles import MemoryLog, MemoryProducer
from tests.support.stages.fakes import MemoryMetadataStore
from tests.support.stages.records import an_id
from topicserve.backends.errors import RecordTooLargeError
from topicserve.producer.record import Record
from topicserve.producer.record_producer import RecordProducer

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-00000000000000aa-01"


class Setup:
    """A producer on a log in memory whose spans are kept."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.kafka = MemoryProducer(self.log)
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.producer = RecordProducer(
            self.kafka, MemoryMetadataStore(), "digits", tracer_provider=self.provider
        )

    def spans(self) -> list[ReadableSpan]:
        """Return the producer's spans that have ended."""
        return [
            span for span in self._exporter.get_finished_spans() if span.name == "publish digits"
        ]

    def traceparent(self) -> str | None:
        """Return the header of the one record that was sent."""
        (sent,) = self.log.published
        found = dict(sent.headers).get("traceparent")
        return None if found is None else found.decode()


@pytest.fixture
def setup() -> Setup:
    """Return connections of a test's own."""
    return Setup()


def test_a_record_belongs_to_the_span_that_its_caller_is_in(setup: Setup) -> None:
    """As every instrumented library does it; the record's headers name its own span."""
    with setup.provider.get_tracer("web").start_as_current_span("GET /") as request:
        future = setup.producer.publish(Record(instance=1.0, record_id=an_id(1)))
    place = future.result()
    setup.producer.close()

    (span,) = setup.spans()
    attributes = dict(span.attributes or {})
    assert span.kind is SpanKind.PRODUCER
    assert span.parent is not None
    assert span.parent.span_id == request.get_span_context().span_id
    assert attributes == {
        "messaging.system": "kafka",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.name": "digits",
        "messaging.message.id": an_id(1),
        "messaging.destination.partition.id": str(place.partition),
        "messaging.kafka.offset": place.offset,
    }
    assert setup.traceparent() == (
        f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-03"
    )


def test_the_trace_that_a_record_names_goes_before_the_callers(setup: Setup) -> None:
    """It was chosen by the caller; the record's headers name our span within it."""
    with setup.provider.get_tracer("web").start_as_current_span("GET /"):
        setup.producer.publish(Record(instance=1.0, traceparent=TRACEPARENT))
    setup.producer.close()

    (span,) = setup.spans()
    assert span.parent is not None
    assert span.parent.span_id == 0xAA
    assert setup.traceparent() == f"{TRACEPARENT[:36]}{span.context.span_id:016x}-01"


def test_a_record_that_is_not_published_is_an_error(setup: Setup) -> None:
    """With the error's name."""
    setup.kafka.fail_send = lambda _: RecordTooLargeError("1 MiB is too much")
    future = setup.producer.publish(Record(instance=1.0))
    with pytest.raises(RecordTooLargeError):
        future.result()

    (span,) = setup.spans()
    assert (span.attributes or {})["error.type"] == "RecordTooLargeError"
    assert span.status.status_code is StatusCode.ERROR


def test_an_sdk_that_raises_keeps_no_record_from_being_published(setup: Setup) -> None:
    """It goes without a span."""

    class Raising(SpanProcessor):
        def on_start(self, span: object, parent_context: object = None) -> None:  # noqa: ARG002
            raise RuntimeError("the exporter is broken")

    setup.provider.add_span_processor(Raising())

    setup.producer.publish(Record(instance=1.0)).result()

    assert len(setup.log.published) == 1
