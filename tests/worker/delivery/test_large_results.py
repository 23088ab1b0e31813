"""Results that are too large for their topic lie in a store, and their records say where."""

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.support.servables.servables import Served
from tests.support.stages.deliveries import limit_of
from tests.support.stages.environments import an_environment
from tests.support.stages.logged import Logged
from tests.support.stages.records import ManualClock, a_kafka_record, a_request, an_id
from tests.worker.delivery.test_topic_limit import LIMIT_BYTES, a_limit
from tests.worker.stages.calls.test_second_tries import GUARANTEES, Padding, reason_of
from tests.worker.test_pipeline import World
from topicserve.backends.references.allow_list import AllowList, Location
from topicserve.backends.references.errors import BodyStoreError, StoreRefusedError
from topicserve.backends.references.header import read_reference
from topicserve.backends.references.writing import write_body
from topicserve.wire.kafka_record import OutgoingRecord
from topicserve.worker.config.dataref import DatarefConfig
from topicserve.worker.config.schema import Guarantee
from topicserve.worker.delivery.large_results import MAX_REFUSALS, LargeResults, NotStoredError
from topicserve.worker.runtime.topic_limit import TopicLimit

COUNT = 30
TRACEPARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def a_world(
    directory: Path, guarantee: Guarantee, limit: TopicLimit | None = None, **changes: Any
) -> World:
    """Return a worker of which every third result is too large, and that stores these."""
    dataref = DatarefConfig(results=f"file://{directory}", wait_seconds=60.0)
    dataref = changes.pop("dataref", dataref)
    made = [
        a_kafka_record(n, float(2000 if n % 3 == 1 else 1 + n % 2), partition=n % 3)
        for n in range(COUNT)
    ]
    world = World(made, guarantee, Served({1: Padding()}), limit=limit, dataref=dataref, **changes)
    world.producer.fail_send = limit_of(LIMIT_BYTES)
    return world


def by_offset(world: World) -> dict[int, OutgoingRecord]:
    """Return what was published of each record, which is one thing."""
    ids = {an_id(number).encode(): number for number in range(COUNT)}
    found = {ids[dict(sent.headers)["ce_id"] or b""]: sent for sent in world.log.published}
    assert len(found) == len(world.log.published) == COUNT
    return found


def body_of(sent: OutgoingRecord, directory: Path) -> bytes:
    """Return the body that a result refers to, which must be what its hash says."""
    reference = read_reference(sent.headers)
    assert reference is not None
    location = AllowList([f"file://{directory}"]).locate(reference.url)
    body = Path(location.path).read_bytes()
    assert hashlib.sha256(body).hexdigest() == reference.sha256
    return body


@GUARANTEES
@pytest.mark.parametrize("is_known", [True, False], ids=["known", "unknown"])
def test_results_that_are_too_large_are_stored(
    guarantee: Guarantee, is_known: bool, tmp_path: Path
) -> None:
    """Also where the broker refuses them without its limit being known; others go their way."""
    limit = a_limit() if is_known else TopicLimit("out", refuses=False)
    world = a_world(tmp_path, guarantee, limit)

    world.run()

    for number, sent in by_offset(world).items():
        assert reason_of(sent) is None
        if number % 3 != 1:
            assert dict(sent.headers).get("ce_dataref") is None
            continue
        body = body_of(sent, tmp_path)
        assert sent.value == b""
        assert sent.key == b"key"
        assert dict(sent.headers)["content-type"] == b"application/json"
        assert dict(sent.headers)["topicserve-metadata-status"] == b"found"
        assert an_id(number).encode() in body
        assert b'"metadata":{"n":%d}' % number in body
    stored = world.metric("stored_results_total") or 0
    assert stored >= COUNT // 3
    assert (world.metric("stored_result_bytes_total") or 0) > 10 * LIMIT_BYTES
    assert world.metric("result_store_seconds_count") == stored
    assert world.metric("dead_letters_total", reason="result_too_large") == 0
    tracker = world.stages.intake.tracker
    assert (tracker.outcome_bytes, tracker.in_flight_bytes) == (0, 0)


def files_below(directory: Path) -> set[Path]:
    """Return all files below a directory."""
    return {path for path in directory.rglob("*") if path.is_file()}


@GUARANTEES
def test_a_record_that_is_answered_again_writes_the_same_name(
    guarantee: Guarantee, tmp_path: Path
) -> None:
    """So what an aborted transaction leaves is overwritten; no two records share a name."""
    for _ in range(2):
        a_world(tmp_path, guarantee, a_limit()).run()

    found = files_below(tmp_path)
    assert len(found) == COUNT // 3
    assert {path.parent for path in found} == {tmp_path / "out"}
    for path in found:
        record_id, version, digest = path.name.rsplit("-", 2)
        assert record_id in {an_id(number) for number in range(COUNT)}
        assert version == "1"
        assert digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_any_record_id_has_a_name_of_its_own(tmp_path: Path) -> None:
    """Whatever is in it, the file lies where the reference says, under the prefix."""
    ids = ["../../etc/passwd", "a/b", "a%2Fb", "..", "x" * 256, "été", "~" + "0" * 64]
    world = World(
        [a_kafka_record(n, 2000.0, headers=[("ce_id", one.encode())]) for n, one in enumerate(ids)],
        Guarantee.AT_LEAST_ONCE,
        Served({1: Padding()}),
        limit=a_limit(),
        dataref=DatarefConfig(results=f"file://{tmp_path}/a%20b"),
    )
    world.each_poll = lambda: (  # type: ignore[method-assign]
        world.stop.set() if len(world.log.published) == len(ids) else None
    )

    world.run()

    assert len({body_of(sent, tmp_path) for sent in world.log.published}) == len(ids)
    assert len(files_below(tmp_path)) == len(ids)


def test_a_stored_result_that_is_still_too_large_is_a_dead_letter(tmp_path: Path) -> None:
    """Where headers alone are: nothing goes round for ever."""
    world = a_world(tmp_path, Guarantee.AT_LEAST_ONCE, TopicLimit("out", refuses=False))
    world.producer.fail_send = limit_of(100)
    world.producer.fail_send = only_results(world.producer.fail_send)

    world.run()

    assert {reason_of(sent) for sent in by_offset(world).values()} == {"result_too_large"}


def test_nothing_is_stored_where_headers_alone_are_too_large(tmp_path: Path) -> None:
    """The dead letter says that they are the reason; other results of the batch are stored."""
    wide = [("tracestate", b"k=" + b"v" * LIMIT_BYTES), ("traceparent", TRACEPARENT)]
    made = [a_kafka_record(0, 2000.0, headers=wide), a_kafka_record(1, 2000.0)]
    dataref = DatarefConfig(results=f"file://{tmp_path}")
    served = Served({1: Padding()})
    world = World(made, Guarantee.AT_LEAST_ONCE, served, limit=a_limit(), dataref=dataref)

    world.run()

    sent = {dict(one.headers)["ce_id"]: one for one in world.log.published}
    letter, stored = sent[an_id(0).encode()], sent[an_id(1).encode()]
    message = (dict(letter.headers)["kafka_dlt-exception-message"] or b"").decode()
    assert reason_of(letter) == "result_too_large"
    assert message.startswith("key and headers are too large without the value: the record takes ")
    assert {path.name.rsplit("-", 2)[0] for path in files_below(tmp_path)} == {an_id(1)}
    assert body_of(stored, tmp_path)


def only_results(refuse: Callable[[OutgoingRecord], Any]) -> Callable[[OutgoingRecord], Any]:
    """Return what refuses as given, but takes every dead letter."""
    return lambda sent: refuse(sent) if sent.topic == "out" else None


class Failing:
    """A store that fails so often, and then writes."""

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        self.failures = failures
        self.error = error or OSError("disk full")
        self.tries = 0
        self._lock = threading.Lock()

    def __call__(self, location: Location, body: bytes) -> None:
        with self._lock:
            self.tries += 1
            is_failing = self.tries <= self.failures
        if is_failing:
            raise self.error
        write_body(location, body)


@GUARANTEES
def test_a_store_that_fails_is_waited_for(
    guarantee: Guarantee, tmp_path: Path, logged: Logged
) -> None:
    """Nothing is given up, and what is the matter is told once."""
    world = a_world(tmp_path, guarantee, a_limit())
    large = world.stages.output.large
    assert large is not None
    large.write = Failing(7)
    seen: list[str | None] = []
    world.each_poll = lambda: seen.append(large.unavailable)  # type: ignore[method-assign]

    world.run()

    assert {reason_of(sent) for sent in by_offset(world).values()} == {None}
    problem = "OSError: disk full"
    store = f"file://{tmp_path}"
    assert logged("body_store_unavailable") == [{"store": store, "problem": problem}]
    assert logged("body_store_recovered") == [{"store": store}]
    assert large.unavailable is None
    assert set(seen) <= {None, f"{store}: {problem}"}
    assert world.metric("retries_total", stage="store") == 7


def test_a_store_that_stays_away_costs_its_time_once(tmp_path: Path) -> None:
    """After that each result is tried once, and becomes a dead letter that says so."""
    dataref = DatarefConfig(results=f"file://{tmp_path}", wait_seconds=0.0)
    world = a_world(tmp_path, Guarantee.AT_LEAST_ONCE, a_limit(), dataref=dataref)
    large = world.stages.output.large
    assert large is not None
    large.write = Failing(10**9)

    world.run()

    for number, sent in by_offset(world).items():
        if number % 3 == 1:
            assert reason_of(sent) == "result_too_large"
            message = dict(sent.headers)["kafka_dlt-exception-message"] or b""
            assert b"was not stored: OSError: disk full" in message
    assert large.unavailable == f"file://{tmp_path}: OSError: disk full"


REFUSED = StoreRefusedError("PermissionError: Access Denied")


def not_stored(world: World) -> list[str]:
    """Return what the dead letters say of the results that are too large."""
    return [
        (dict(sent.headers)["kafka_dlt-exception-message"] or b"").decode()
        for sent in world.log.published
        if reason_of(sent) == "result_too_large"
    ]


@GUARANTEES
def test_a_store_that_refuses_is_not_waited_for(
    guarantee: Guarantee, tmp_path: Path, logged: Logged
) -> None:
    """Its first result is tried three times, each other one once; all records have an outcome."""
    dataref = DatarefConfig(results=f"file://{tmp_path}", wait_seconds=10_000.0)
    world = a_world(tmp_path, guarantee, a_limit(), dataref=dataref)
    large = world.stages.output.large
    assert large is not None
    large.write = store = Failing(10**9, REFUSED)

    world.run()

    message = f"the result is too large, and was not stored: {REFUSED}"
    assert not_stored(world) == [message] * (COUNT // 3)
    # Two batch threads may begin with one each.
    assert store.tries <= COUNT // 3 + 2 * (MAX_REFUSALS - 1)
    assert world.metric("retries_total", stage="store") == store.tries - COUNT // 3
    assert large.unavailable == f"file://{tmp_path}: {REFUSED}"
    assert logged("body_store_unavailable") == [
        {"store": f"file://{tmp_path}", "problem": str(REFUSED)}
    ]


def test_a_store_that_no_longer_refuses_is_used_at_once(tmp_path: Path, logged: Logged) -> None:
    """A right that was given in the meantime; refused again, it has its three tries again."""
    world = a_world(tmp_path, Guarantee.AT_LEAST_ONCE, a_limit())
    large = world.stages.output.large
    assert large is not None
    # Two batch threads may share them: one of the two has three.
    large.write = Failing(2 * MAX_REFUSALS - 1, REFUSED)

    world.run()

    assert 1 <= len(not_stored(world)) <= MAX_REFUSALS
    assert large.unavailable is None
    assert logged("body_store_recovered") == [{"store": f"file://{tmp_path}"}]


@pytest.mark.parametrize("error", [REFUSED, BodyStoreError("disk full")])
def test_a_failure_from_before_a_success_is_no_news(
    tmp_path: Path, logged: Logged, error: Exception
) -> None:
    """Two threads store: one fails, the other is done before that is noted."""
    dataref = DatarefConfig(results=f"file://{tmp_path}", wait_seconds=60.0)
    large = LargeResults(an_environment(dataref=dataref))
    tries = 0

    def write(location: Location, body: bytes) -> None:
        nonlocal tries
        tries += body == b"slow"
        if body == b"slow" and tries == 1:
            large.stored(a_request(), 1, OutgoingRecord("out", b"", b"quick"))
            raise error
        write_body(location, body)

    large.write = write
    large.stored(a_request(), 1, OutgoingRecord("out", b"", b"slow"))

    assert tries == 2
    assert logged("body_store_unavailable") == logged("body_store_recovered") == []


def test_a_directory_that_is_a_file_costs_large_results_alone(tmp_path: Path) -> None:
    """The file system says so of its own: nothing waits for that to change."""
    (tmp_path / "out").write_bytes(b"")
    dataref = DatarefConfig(results=f"file://{tmp_path}", wait_seconds=10_000.0)
    world = a_world(tmp_path, Guarantee.AT_LEAST_ONCE, a_limit(), dataref=dataref)

    world.run()

    by_offset(world)
    assert len(not_stored(world)) == COUNT // 3
    assert all("FileExistsError" in message for message in not_stored(world))


def test_a_refusal_ends_an_outage(tmp_path: Path) -> None:
    """The store answers: the next outage has its whole time again, however much later it comes."""
    clock = ManualClock()
    dataref = DatarefConfig(results=f"file://{tmp_path}", wait_seconds=25.0)
    large = LargeResults(an_environment(clock=clock, dataref=dataref))
    errors: list[Exception] = [OSError("disk full"), REFUSED, REFUSED, REFUSED, OSError("away")]

    def call(work: Callable[[], None], timeout_seconds: float) -> None:  # noqa: ARG001
        clock.advance(20.0)
        if errors:
            raise errors.pop(0)

    large.calls.call = call  # type: ignore[method-assign]
    with pytest.raises(NotStoredError, match="Access Denied"):
        large.stored(a_request(), 1, OutgoingRecord("out", b"", b"x"))

    assert large.stored(a_request(), 1, OutgoingRecord("out", b"", b"x")).value == b""
    assert large.unavailable is None


@pytest.mark.parametrize("wait_seconds", [0.0, 25.0])
def test_tries_end_with_the_time_for_them(tmp_path: Path, wait_seconds: float) -> None:
    """A try that does not return is left behind when the time is over, not when it fails."""
    clock = ManualClock()
    dataref = DatarefConfig(
        results=f"file://{tmp_path}", wait_seconds=wait_seconds, timeout_seconds=10.0
    )
    large = LargeResults(an_environment(clock=clock, dataref=dataref))
    limits: list[float] = []

    def call(work: Callable[[], None], timeout_seconds: float) -> None:  # noqa: ARG001
        limits.append(timeout_seconds)
        clock.advance(min(timeout_seconds, 9.0))
        raise BodyStoreError("no answer")

    large.calls.call = call  # type: ignore[method-assign]
    started = clock()
    for _ in range(2):
        with pytest.raises(NotStoredError):
            large.stored(a_request(), 1, OutgoingRecord("out", b"", b"x"))

    if wait_seconds:
        assert limits == pytest.approx([25.0, 16.0, 7.0, 10.0])
        assert clock() - started == pytest.approx(25.0 + 9.0)
    else:
        assert limits == [10.0, 10.0]


def test_storing_is_a_step_of_its_batch_in_traces(tmp_path: Path) -> None:
    """With the size of what is stored."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    world = a_world(tmp_path, Guarantee.AT_LEAST_ONCE, a_limit(), tracer_provider=provider)

    world.run()

    spans = [span for span in exporter.get_finished_spans() if span.name == "store"]
    sizes = {len(path.read_bytes()) for path in files_below(tmp_path)}
    assert {dict(span.attributes or {})["topicserve.bytes"] for span in spans} == sizes
