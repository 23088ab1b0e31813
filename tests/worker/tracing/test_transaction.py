"""What the spans of a transaction say that was aborted: which of two sends of a record counts."""

from collections.abc import Callable
from threading import Event, Thread

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from tests.support.stages.records import ROUTE, a_request
from tests.worker.tracing.test_traces import TracedWorld, told, trace_of, traced
from topicserve.backends.errors import (
    BackendError,
    BackendUnavailableError,
    CommitRefusedError,
    TransactionAbortedError,
)
from topicserve.worker.config.schema import Guarantee
from topicserve.worker.quarantine.given_up import BatchTimeoutError
from topicserve.worker.stages.request import Batch
from topicserve.worker.tracing.spans import WorkerSpans

LIMIT_SECONDS = 60.0


def once(error: BackendError) -> Callable[[], BackendError | None]:
    """Return what fails the first time."""
    errors: list[BackendError | None] = [error]
    return lambda: errors.pop() if errors else None


def world_that_refuses_offsets() -> TracedWorld:
    """Return one whose first transaction's offsets are refused: the group has moved on."""
    world = TracedWorld(traced(5), Guarantee.EXACTLY_ONCE)
    refuse, send_offsets = (
        once(CommitRefusedError("fenced")),
        (world.producer.send_offsets_to_transaction),
    )

    def send(*arguments: object) -> None:
        if (error := refuse()) is not None:
            raise error
        send_offsets(*arguments)  # type: ignore[arg-type]

    world.producer.send_offsets_to_transaction = send  # type: ignore[assignment]
    return world


def world_that_refuses_the_commit() -> TracedWorld:
    """Return one whose first transaction the coordinator aborts."""
    world = TracedWorld(traced(5), Guarantee.EXACTLY_ONCE)
    world.producer.fail_commit = once(TransactionAbortedError("timed out"))
    return world


def errors_of(spans: list[ReadableSpan]) -> list[object]:
    """Return the error.type of those that failed."""
    return [told(one)["error.type"] for one in spans if one.status.status_code is StatusCode.ERROR]


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (world_that_refuses_offsets, "CommitRefusedError"),
        (world_that_refuses_the_commit, "TransactionAbortedError"),
    ],
)
def test_an_aborted_transaction_can_be_told_from_the_one_that_counts(
    make: Callable[[], TracedWorld], error: str
) -> None:
    """By its commit, its abort and its sends; the spans that results name are no errors."""
    world = make()

    world.run()

    assert world.producer.aborted == 1
    assert errors_of(world.spans("commit in")) == [error]
    (abort,) = world.spans("abort in")
    assert told(abort)["topicserve.transaction"] == "aborted"
    assert told(abort)["error.type"] == "TransactionAbortedError"
    assert told(abort)["messaging.operation.type"] == "settle"
    aborted = [one for one in world.spans("send out") if "topicserve.transaction" in told(one)]
    counted = [one for one in world.spans("send out") if one not in aborted]
    assert aborted
    assert set(errors_of(aborted)) == {"TransactionAbortedError"}
    assert {told(one)["topicserve.transaction"] for one in aborted} == {"aborted"}
    assert {link.context.span_id for link in abort.links} == {
        one.context.span_id for one in aborted
    }
    assert errors_of(counted) == []
    named = {trace_of(record)[2] for record in world.log.published}
    assert named == {f"{one.context.span_id:016x}" for one in counted}


def test_a_commit_that_no_broker_answered_leaves_its_sends_in_doubt() -> None:
    """It may have been committed before it was aborted."""
    world = TracedWorld(traced(5), Guarantee.EXACTLY_ONCE)
    answers: list[BackendError | None] = [
        TransactionAbortedError("too late"),
        BackendUnavailableError("no answer"),
    ]
    world.producer.fail_commit = lambda: answers.pop() if answers else None

    world.run()

    (abort,) = world.spans("abort in")
    assert told(abort)["topicserve.transaction"] == "in_doubt"
    assert errors_of(world.spans("commit in")) == [
        "BackendUnavailableError",
        "TransactionAbortedError",
    ]


def test_an_abort_that_fails_is_an_error_by_its_type() -> None:
    """And the next try is a span of its own."""
    world = world_that_refuses_the_commit()
    world.producer.fail_abort = once(BackendUnavailableError("no answer"))

    world.run()

    assert errors_of(world.spans("abort in")) == [
        "BackendUnavailableError",
        "TransactionAbortedError",
    ]


@pytest.mark.parametrize(
    ("error", "kind"), [(BatchTimeoutError("too long"), "BatchTimeoutError"), (None, "unfinished")]
)
def test_a_batch_that_hangs_leaves_its_spans(error: BaseException | None, kind: str) -> None:
    """They end with the worker, and once."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    spans = WorkerSpans(provider.get_tracer("test"), "g", "c")
    hangs, goes_on = Event(), Event()

    def serve() -> None:
        with spans.process(Batch(ROUTE, 0, [a_request()], [], 1, 0.0)), spans.step("predict"):
            hangs.set()
            goes_on.wait(LIMIT_SECONDS)

    thread = Thread(target=serve)
    thread.start()
    assert hangs.wait(LIMIT_SECONDS)

    spans.end_unfinished(error)
    ended = exporter.get_finished_spans()
    goes_on.set()
    thread.join(LIMIT_SECONDS)

    assert [one.name for one in ended] == ["predict", "process in"]
    assert errors_of(list(ended)) == [kind, kind]
    assert exporter.get_finished_spans() == ended


def test_no_span_is_open_when_a_worker_has_stopped() -> None:
    """With a batch that did not return in the time that a stop may take."""
    world = TracedWorld(traced(1), Guarantee.AT_LEAST_ONCE, shutdown_timeout_seconds=0.0)
    predict, goes_on = world.stages.inference.predictor.predict, Event()

    def hang(batch: Batch) -> object:
        world.stop.set()
        goes_on.wait(LIMIT_SECONDS)
        return predict(batch)

    world.stages.inference.predictor.predict = hang  # type: ignore[assignment]

    world.run()
    (span,) = world.spans("process in")
    goes_on.set()

    assert told(span)["error.type"] == "unfinished"
