import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import kafka
import pytest
from kafka import errors

from tests.support.kafka.port import Member, numbered, send
from topicserve.backends.errors import AuthenticationError, BackendUnavailableError
from topicserve.backends.kafka_python.broker import KafkaPythonBroker
from topicserve.backends.kafka_python.connection import ClientNetwork
from topicserve.backends.kafka_python.reading.consumer import KafkaPythonConsumer
from topicserve.embedded.kafka_server import KafkaServer

LIMIT_SECONDS = 30.0


@pytest.fixture
def server() -> Iterator[KafkaServer]:
    """Start a broker that a test may take away."""
    with KafkaServer() as started:
        yield started


class ScriptedClient:
    """A KafkaConsumer whose polls do what a test says."""

    def __init__(self) -> None:
        self.on_poll: Callable[[], dict[Any, list[Any]]] = dict
        self.closed = False
        self._fetcher = SimpleNamespace(_paused_partition_records=None)
        self._coordinator = SimpleNamespace(_join_task=None, _send_offset_commit_request=None)

    def poll(self, timeout_ms: float, max_records: int) -> dict[Any, list[Any]]:  # noqa: ARG002
        return self.on_poll()

    def close(self, *, autocommit: bool, timeout_ms: float) -> None:  # noqa: ARG002
        self.closed = True


class ScriptedNetwork(ClientNetwork):
    """Opens the client of a test once the test lets it."""

    def __init__(self, client: ScriptedClient) -> None:
        super().__init__()
        self._scripted = client
        self.may_open = threading.Event()
        self.may_open.set()
        self.attempts = 0
        self.problem: Exception | None = None

    def open(self, kind: Any, arguments: dict[str, Any], timeout_seconds: float) -> Any:  # noqa: ARG002
        self.attempts += 1
        assert self.may_open.wait(LIMIT_SECONDS)
        if self.problem is not None:
            raise self.problem
        return self._scripted


def a_record(offset: int) -> tuple[Any, ...]:
    """Return a ConsumerRecord's first fields."""
    return ("topic", 0, -1, offset, 1, 0, b"key", b"value", ())


def some_records(count: int) -> dict[Any, list[Any]]:
    """Return what a poll of kafka-python does."""
    return {kafka.TopicPartition("topic", 0): [a_record(offset) for offset in range(count)]}


@pytest.mark.servers
def test_looking_for_the_coordinator_of_a_broker_that_is_away_is_no_error(
    server: KafkaServer,
) -> None:
    """kafka-python raises the connection's error where it asks for metadata meanwhile."""
    broker = KafkaPythonBroker(
        {
            "bootstrap.servers": server.bootstrap_servers,
            "reconnect.backoff.ms": 1,
            "reconnect.backoff.max.ms": 1,
        }
    )
    producer = broker.producer()
    send(producer, numbered("topic", 10))
    producer.close(5)
    consumer = broker.consumer("group", {"auto.offset.reset": "earliest"})
    member = Member(consumer)
    consumer.subscribe(["topic"], member)
    member.read(10)

    server.kill()
    consumer._client._coordinator.coordinator_dead("the broker went away")
    polled = [consumer.poll(0.5, 10) for _ in range(3)]
    server.start()
    again = broker.producer()
    send(again, numbered("topic", 1))
    again.close(5)
    member.read(11)
    consumer.close(5)

    assert polled == [[], [], []]


@pytest.mark.parametrize(
    "theirs",
    [
        errors.KafkaConnectionError("111 ECONNREFUSED"),
        errors.NodeNotReadyError("coordinator"),
        errors.UnknownBrokerIdError(1),
        errors.UnstableOffsetCommitError(),
        ConnectionResetError("reset"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_poll_survives_what_passes_by_itself(theirs: Exception) -> None:
    """Whatever the client says of a broker that is away, the next poll goes on."""
    client = ScriptedClient()
    consumer = KafkaPythonConsumer({}, network=ScriptedNetwork(client))

    client.on_poll = raising(theirs)
    while_away = consumer.poll(0, 10)
    client.on_poll = lambda: some_records(2)

    assert while_away == []
    assert [record.offset for record in consumer.poll(0, 10)] == [0, 1]


def test_a_poll_raises_what_does_not_pass() -> None:
    """A missing right is not waited for."""
    client = ScriptedClient()
    consumer = KafkaPythonConsumer({}, network=ScriptedNetwork(client))
    client.on_poll = raising(errors.GroupAuthorizationFailedError("group"))

    with pytest.raises(AuthenticationError):
        consumer.poll(0, 10)


def test_short_polls_wait_for_one_attempt_to_connect() -> None:
    """A broker that answers slowly is connected to, without holding up any poll."""
    client = ScriptedClient()
    client.on_poll = lambda: some_records(1)
    network = ScriptedNetwork(client)
    network.may_open.clear()
    consumer = KafkaPythonConsumer({}, network=network)

    too_early = [consumer.poll(0, 10) for _ in range(3)]
    network.may_open.set()
    records = consumer.poll(LIMIT_SECONDS, 10)

    assert too_early == [[], [], []]
    assert len(records) == 1
    assert network.attempts == 1


def test_an_attempt_that_failed_is_followed_by_another() -> None:
    """Polls come back empty until the broker is there."""
    client = ScriptedClient()
    client.on_poll = lambda: some_records(1)
    network = ScriptedNetwork(client)
    consumer = KafkaPythonConsumer({}, network=network)

    network.problem = BackendUnavailableError("no broker listens")
    away = [consumer.poll(0.05, 10) for _ in range(2)]
    network.problem = None

    assert away == [[], []]
    assert len(consumer.poll(LIMIT_SECONDS, 10)) == 1
    assert network.attempts == 3


def test_what_is_being_opened_is_closed_too() -> None:
    """Closing waits for an attempt in progress, which would leave a client behind."""
    client = ScriptedClient()
    network = ScriptedNetwork(client)
    network.may_open.clear()
    consumer = KafkaPythonConsumer({}, network=network)
    consumer.poll(0, 10)

    network.may_open.set()
    consumer.close(LIMIT_SECONDS)

    assert client.closed


def raising(error: Exception) -> Callable[[], dict[Any, list[Any]]]:
    """Return a poll that raises."""

    def poll() -> dict[Any, list[Any]]:
        raise error

    return poll
