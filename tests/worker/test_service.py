"""The whole service beside a broker in memory: what it opens, and what it tells."""

import gc
import threading
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tests.support.kafka.kafka_doubles import MemoryConsumer, MemoryLog, MemoryProducer
from tests.support.open_inference.server import halving, serving
from tests.support.servables.table import write_table
from tests.support.stages.logged import Logged
from tests.support.stages.records import PARTITION, a_kafka_record
from topicserve.backends.broker import Admin, RebalanceListener
from topicserve.backends.errors import BackendUnavailableError
from topicserve.backends.kafka_settings import MAX_DECOMPRESSED_BYTES
from topicserve.backends.redis_store import RedisMetadataStore
from topicserve.servables.core.servable_state import ManagerState, ServableState
from topicserve.servables.kinds.hashmap.hashmap import Hashmap
from topicserve.servables.server.server_core import ServerCore
from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker import service
from topicserve.worker.config.dataref import DatarefConfig
from topicserve.worker.config.models import ModelsConfig
from topicserve.worker.config.schema import (
    BatchingConfig,
    Client,
    DeliveryConfig,
    Guarantee,
    HttpConfig,
    KafkaConfig,
    MetadataConfig,
    TopicsConfig,
    WorkerConfig,
)
from topicserve.worker.config.served import ServedConfig, ShadowConfig
from topicserve.worker.delivery.large_results import LargeResults
from topicserve.worker.runtime import kafka_settings
from topicserve.worker.runtime.kafka_settings import MAX_RECORD_BYTES
from topicserve.worker.service import CLOSE_TIMEOUT_SECONDS, GIVEN_UP_SECONDS, WorkerService
from topicserve.worker.stages.shadow import Shadow


class SilentAdmin:
    """Answers no question."""

    def __getattr__(self, question: str) -> Any:
        def ask(*_: object) -> object:
            raise BackendUnavailableError("no answer")

        return ask

    def close(self) -> None:
        pass


class FakeBroker:
    """Opens clients on a log in memory, and notes with what."""

    def __init__(self) -> None:
        self.client = ""
        self.settings: dict[str, object] = {}
        self.group_id = ""
        self.consumer_settings: dict[str, object] = {}
        self.producer_settings: dict[str, object] = {}
        self.others = set(threading.enumerate())  # what other tests have left
        self.batch_threads: set[str] = set()
        self.log = MemoryLog()
        self.partitions: tuple[TopicPartition, ...] = ()

    def open(self, client: str, settings: dict[str, object]) -> "FakeBroker":
        self.client, self.settings = client, settings
        return self

    def admin(self) -> Admin:
        return SilentAdmin()

    def consumer(self, group_id: str, settings: dict[str, object]) -> MemoryConsumer:
        self.group_id, self.consumer_settings = group_id, settings
        consumer = MemoryConsumer(self.log)
        subscribe = consumer.subscribe

        def noted(topics: Sequence[str], listener: RebalanceListener) -> None:
            own = set(threading.enumerate()) - self.others
            self.batch_threads = {one.name for one in own if "-batch-" in one.name}
            subscribe(topics, listener)

        def assign_once() -> None:
            consumer.before_poll = lambda: None
            consumer.assign(*self.partitions)

        consumer.subscribe = noted  # type: ignore[method-assign]
        if self.partitions:
            consumer.before_poll = assign_once
        return consumer

    def producer(self, settings: dict[str, object]) -> MemoryProducer:
        self.producer_settings = settings
        return MemoryProducer(self.log)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBroker]:
    """Return the broker that workers of this process open; collect garbage as often after it."""
    broker, threshold = FakeBroker(), gc.get_threshold()
    monkeypatch.setattr(kafka_settings, "open_broker", broker.open)
    yield broker
    gc.set_threshold(*threshold)


def serve(tmp_path: Path, **tables: Any) -> tuple[int, list[str]]:
    """Run a worker that is stopped when it is ready; return the exit code and its address."""
    write_table(tmp_path, 1)
    config = WorkerConfig(
        TopicsConfig(("a", "b"), "out"),
        (ServedConfig("table", str(tmp_path), "hashmap"),),
        http=HttpConfig(port=-1),
        **tables,
    )
    stop, addresses = threading.Event(), list[str]()

    def on_ready(address: str) -> None:
        addresses.append(address)
        stop.set()

    return WorkerService(config, "w-1").run(stop, on_ready), addresses


def test_a_worker_tells_when_it_starts_and_stops(
    tmp_path: Path, broker: FakeBroker, logged: Logged
) -> None:
    """With what anyone asks first: release, group, client, guarantee."""
    kafka = KafkaConfig("broker:9092", "group-1", Client.CONFLUENT)

    code, addresses = serve(tmp_path, kafka=kafka)

    assert (code, addresses, broker.group_id) == (0, [""], "group-1")
    assert logged("worker_started") == [
        {
            "address": "",
            "topics": "a,b",
            "release": version("topicserve"),
            "worker_id": "w-1",
            "group": "group-1",
            "client": "confluent",
            "guarantee": "at_least_once",
        }
    ]
    assert logged("worker_stopped") == [{"exit_code": 0}]
    assert logged("topic_limit_unknown") == [{"topic": "out", "problem": "no answer"}]


def test_kafkas_settings_reach_their_clients(tmp_path: Path, broker: FakeBroker) -> None:
    """Those for all connections, those of one kind of client, and what the worker's keys mean."""
    kafka = KafkaConfig(
        "broker:9092",
        group_instance_id="i-1",
        max_decompressed_bytes=1000,
        settings={"security.protocol": "SSL"},
        consumer_settings={"session.timeout.ms": 10_000},
        producer_settings={"compression.type": "lz4", "linger.ms": 7},
    )

    serve(tmp_path, kafka=kafka, delivery=DeliveryConfig(delivery_timeout_seconds=2.5))

    assert broker.client == "kafka-python"
    assert broker.settings == {
        "bootstrap.servers": "broker:9092",
        "client.id": "w-1",
        "security.protocol": "SSL",
    }
    assert broker.consumer_settings == {
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        MAX_DECOMPRESSED_BYTES: 1000,
        "group.instance.id": "i-1",
        "session.timeout.ms": 10_000,
    }
    assert broker.producer_settings == {
        "max.request.size": MAX_RECORD_BYTES,
        "delivery.timeout.ms": 2500,
        "compression.type": "lz4",
        "linger.ms": 7,
    }


def test_the_metadata_store_is_opened_as_it_is_configured(
    tmp_path: Path, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose keys may have another prefix, and how long a look-up may take."""
    opened: list[tuple[str, dict[str, object]]] = []

    def open_store(url: str, **settings: object) -> RedisMetadataStore:
        opened.append((url, settings))
        return RedisMetadataStore(url)

    monkeypatch.setattr(service, "RedisMetadataStore", open_store)
    metadata = MetadataConfig("redis://store", "own:", ttl_seconds=60, timeout_seconds=0.5)

    code, _ = serve(tmp_path, metadata=metadata)

    assert (code, broker.client) == (0, "kafka-python")
    assert opened == [
        ("redis://store", {"key_prefix": "own:", "ttl_seconds": 60, "timeout_seconds": 0.5})
    ]


@pytest.mark.parametrize(
    ("told", "expected"), [("", "topicserve-i-1"), ("mine", "mine")], ids=["made", "told"]
)
def test_exactly_once_has_a_transactional_id(
    tmp_path: Path, broker: FakeBroker, told: str, expected: str
) -> None:
    """The configured one, or the group's with the member's own name, which a restart keeps."""
    delivery = DeliveryConfig(Guarantee.EXACTLY_ONCE, transactional_id=told)

    serve(tmp_path, kafka=KafkaConfig(group_instance_id="i-1"), delivery=delivery)

    assert broker.producer_settings["transactional.id"] == expected
    assert broker.producer_settings["transaction.timeout.ms"] == 10_000


def test_tries_pause_no_longer_than_is_configured() -> None:
    """`delivery.max_retry_pause_seconds`."""
    delivery = DeliveryConfig(max_retry_pause_seconds=0.001)
    config = WorkerConfig(TopicsConfig(("a",), "out"), (), delivery=delivery)

    assert WorkerService(config, "w-1")._environment.retry_loop.backoff.max_seconds == 0.001


def test_one_batch_is_encoded_beside_those_that_are_predicted(
    tmp_path: Path, broker: FakeBroker
) -> None:
    """So there is a thread more than `batching.predict_threads`."""
    serve(tmp_path, batching=BatchingConfig(predict_threads=3))

    assert broker.batch_threads == {f"topicserve-batch-{number}" for number in range(4)}


def test_a_stop_closes_what_stores_large_results(
    tmp_path: Path, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that no thread of its own is left when the process ends."""
    closed: list[LargeResults] = []
    monkeypatch.setattr(LargeResults, "close", lambda large: closed.append(large))
    (tmp_path / "results").mkdir()

    code, _ = serve(tmp_path, dataref=DatarefConfig(results=f"file://{tmp_path}/results"))

    assert (code, broker.client, len(closed)) == (0, "kafka-python", 1)


def test_a_stop_waits_no_longer_for_a_remote_server(
    tmp_path: Path, broker: FakeBroker, logged: Logged
) -> None:
    """Once `delivery.shutdown_timeout_seconds` are over; the record stays uncommitted."""
    server = halving()
    server.may_answer.clear()
    headers = [("ce_servable", b"half"), ("ce_metadata", b"absent")]
    broker.log.records = [a_kafka_record(0, [2, 4], headers=headers)]
    broker.partitions = (PARTITION,)
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "open_inference.json").write_text('{"model_name": "half"}')
    with serving(server) as target:
        options = {"target": target, "timeout_seconds": 3600}
        config = WorkerConfig(
            TopicsConfig(("in",), "out"),
            (ServedConfig("half", str(tmp_path), "open_inference", options=options),),
            models=ModelsConfig(stable_scans=1),
            delivery=DeliveryConfig(shutdown_timeout_seconds=0.1),
            http=HttpConfig(port=-1),
        )
        stop = threading.Event()
        threading.Thread(target=_stop_after, args=(server.was_called, stop)).start()
        code = WorkerService(config, "w-1").run(stop, lambda _: None)

    assert code == 0
    assert [one["records"] for one in logged("shutdown_timed_out")] == [1]
    assert [one["servable"] for one in logged("version_unloaded")] == ["half"]
    assert (broker.log.published, broker.log.committed.get(PARTITION, 0)) == ([], 0)


def test_servables_have_time_to_close_where_nothing_hangs(
    tmp_path: Path, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version that takes a moment to be unloaded is not cut off."""
    closed: list[tuple[type, float]] = []
    monkeypatch.setattr(ServerCore, "close", _noted(ServerCore, ServerCore.close, closed))

    code, _ = serve(tmp_path)

    assert (code, broker.client) == (0, "kafka-python")
    assert closed == [(ServerCore, CLOSE_TIMEOUT_SECONDS)]


def test_a_stop_that_gave_a_call_up_does_not_wait_for_it_again(
    tmp_path: Path, broker: FakeBroker, logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its servable is closed at once: what holds it may never return."""
    called, over = threading.Event(), threading.Event()
    closed: list[tuple[type, float]] = []

    def hang(*_: object) -> Any:
        called.set()
        over.wait(120)
        raise AssertionError

    monkeypatch.setattr(Hashmap, "predict", hang)
    monkeypatch.setattr(ServerCore, "close", _noted(ServerCore, ServerCore.close, closed))

    code = _serve_one(tmp_path, broker, called)
    over.set()

    assert (code, closed) == (0, [(ServerCore, GIVEN_UP_SECONDS)])
    assert [one["records"] for one in logged("shutdown_timed_out")] == [1]
    assert (broker.log.published, broker.log.committed.get(PARTITION, 0)) == ([], 0)


def test_a_shadow_that_hangs_has_what_is_left_of_a_stop(
    tmp_path: Path, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `delivery.shutdown_timeout_seconds` neither its thread nor its handle is waited for."""
    called, over, available = threading.Event(), threading.Event(), threading.Event()
    closed: list[tuple[type, float]] = []
    predict, first = Hashmap.predict, list[Hashmap]()

    def hang_second(table: Hashmap, *args: Any) -> Any:
        first.append(table)
        if table is first[0]:
            assert available.wait(60)
            return predict(table, *args)
        called.set()
        over.wait(120)
        raise AssertionError

    def note_version(event: ServableState, _: object) -> None:
        if event.id.version == 2 and event.manager_state is ManagerState.AVAILABLE:
            available.set()

    monkeypatch.setattr(Hashmap, "predict", hang_second)
    monkeypatch.setattr(service, "log_version", note_version)
    for kind in (ServerCore, Shadow):
        monkeypatch.setattr(kind, "close", _noted(kind, kind.close, closed))

    code = _serve_one(tmp_path, broker, called, shadow=ShadowConfig(1.0, 2))
    over.set()

    (shadow, shadow_seconds), core = closed
    assert (code, shadow, core) == (0, Shadow, (ServerCore, GIVEN_UP_SECONDS))
    assert shadow_seconds <= 0.1
    assert [sent.topic for sent in broker.log.published] == ["out"]


def _serve_one(
    tmp_path: Path, broker: FakeBroker, called: threading.Event, shadow: ShadowConfig | None = None
) -> int:
    """Serve one record, be stopped once something is called, and return the exit code."""
    for number in (1,) if shadow is None else (1, 2):
        write_table(tmp_path / "table", number)
    headers = [("ce_servable", b"table"), ("ce_metadata", b"absent")]
    broker.log.records = [a_kafka_record(0, "k1", headers=headers)]
    broker.partitions = (PARTITION,)
    config = WorkerConfig(
        TopicsConfig(("in",), "out", shadow="differences"),
        (ServedConfig("table", str(tmp_path / "table"), "hashmap", shadow=shadow),),
        delivery=DeliveryConfig(shutdown_timeout_seconds=0.1),
        http=HttpConfig(port=-1),
    )
    stop = threading.Event()
    threading.Thread(target=_stop_after, args=(called, stop)).start()
    return WorkerService(config, "w-1").run(stop, lambda _: None)


def _noted(
    kind: type, close: Callable[[Any, float], object], closed: list[tuple[type, float]]
) -> Callable[[Any, float], None]:
    """Return a `close` that notes how many seconds it is given."""

    def noted(closing: object, seconds: float) -> None:
        closed.append((kind, seconds))
        close(closing, seconds)

    return noted


def _stop_after(called: threading.Event, stop: threading.Event) -> None:
    assert called.wait(60)
    stop.set()
