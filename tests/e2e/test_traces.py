"""A trace from a web handler's span to a reader, through real clients and a broker."""

import gc
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.support.kafka.topics import open_topics
from tests.support.servables.table import write_table
from topicserve import Record, RecordProducer, ResultReader
from topicserve.embedded.stack import Stack
from topicserve.worker.config.schema import (
    Client,
    DeliveryConfig,
    Guarantee,
    HttpConfig,
    KafkaConfig,
    MetadataConfig,
    TopicsConfig,
    WorkerConfig,
)
from topicserve.worker.config.served import ServedConfig
from topicserve.worker.service import WorkerService

LIMIT_SECONDS = 60.0


@pytest.fixture
def collected() -> Iterator[None]:
    """Collect garbage as before afterwards: a worker in this process changes that."""
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


def tree(spans: list[ReadableSpan], root: ReadableSpan, depth: int = 0) -> list[str]:
    """Return a trace as lines, each span below its parent."""
    children = [
        span for span in spans if span.parent and span.parent.span_id == root.context.span_id
    ]
    below = [line for child in children for line in tree(spans, child, depth + 1)]
    return [f"{'  ' * depth}{root.name}", *below]


@pytest.mark.usefixtures("collected")
@pytest.mark.parametrize("client", list(Client), ids=lambda client: client.value)
def test_a_reader_goes_on_with_a_web_handlers_trace(tmp_path: Path, client: Client) -> None:
    """publish, process, predict, join, send and settle; the result is part of the same trace."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    write_table(tmp_path / "table", 1)
    topics = [f"in-{client.value}", f"out-{client.value}", f"in-{client.value}.dead-letter"]
    with Stack() as stack, open_topics(stack.bootstrap_servers, *topics, partitions=1):
        config = WorkerConfig(
            TopicsConfig((topics[0],), topics[1]),
            (ServedConfig("table", str(tmp_path / "table"), "hashmap"),),
            kafka=KafkaConfig(stack.bootstrap_servers, f"group-{client.value}", client),
            metadata=MetadataConfig(stack.redis_url),
            delivery=DeliveryConfig(guarantee=Guarantee.EXACTLY_ONCE),
            http=HttpConfig(port=-1),
        )
        stop = threading.Event()
        worker = threading.Thread(
            target=lambda: WorkerService(config, "w-1", provider).run(stop, lambda _: None)
        )
        worker.start()
        try:
            producer = RecordProducer.connect(
                *(stack.bootstrap_servers, stack.redis_url, topics[0]),
                client=client.value,
                tracer_provider=provider,
            )
            with (
                provider.get_tracer("web").start_as_current_span("GET /") as request,
                producer,
            ):
                producer.publish(Record(instance="k7", metadata={"user": 7}))
            with ResultReader.connect(
                stack.bootstrap_servers, topics[1], client=client.value
            ) as reader:
                result = next(iter(reader.read(timeout_seconds=LIMIT_SECONDS)))
        finally:
            stop.set()
            worker.join(LIMIT_SECONDS)

    spans = list(exporter.get_finished_spans())
    (root,) = [span for span in spans if span.name == "GET /"]
    print("\n".join(tree(spans, root)))
    assert tree(spans, root) == [
        "GET /",
        f"  publish {topics[0]}",
        f"    send {topics[1]}",
    ]
    (sent,) = [span for span in spans if span.name == f"send {topics[1]}"]
    told = (dict(result.trace)["traceparent"] or b"").decode().split("-")
    assert told[1] == f"{request.get_span_context().trace_id:032x}"
    assert told[2] == f"{sent.context.span_id:016x}"
    # The last one: until the table is loaded the record comes back.
    batch = [span for span in spans if span.name == f"process {topics[0]}"][-1]
    assert tree(spans, batch) == [f"process {topics[0]}", "  predict", "  join", "  encode"]
    assert [link.context.trace_id for link in batch.links] == [root.context.trace_id]
    assert [span for span in spans if span.name == f"commit {topics[0]}"]
