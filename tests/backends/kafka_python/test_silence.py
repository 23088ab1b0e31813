"""What clients do about a broker that one of them found silent, on connections of a test's own."""

from typing import Any

import pytest
from kafka import errors
from kafka.future import Future
from kafka.net.selector import NetworkSelector
from kafka.protocol.metadata import MetadataResponse

from topicserve.backends.kafka_python.connection import ClientConnections
from topicserve.backends.kafka_python.silence import SilentBrokers

NODES = (1, 2, 3)
FORMAT = 8
TOPIC = MetadataResponse.MetadataResponseTopic
TIMED_OUT = errors.RequestTimedOutError("after 10 s")


class Connection:
    """A connection with so many requests that no one has answered."""

    paused: frozenset[str] = frozenset()

    def __init__(self, in_flight: int = 0) -> None:
        self.connected = True
        self.in_flight_requests = [object()] * in_flight
        self.init_future, self.close_future = Future(), Future()

    def close(self) -> None:
        """Be closed."""
        self.connected = False


class Loop(NetworkSelector):  # type: ignore[misc]  # the library is untyped
    """An event loop whose time passes with each step."""

    def __init__(self) -> None:
        super().__init__()
        self._later: list[Any] = []

    def call_later(self, delay: float, task: Any) -> None:  # noqa: ARG002
        """Keep what is to be done for the next step."""
        self._later.append(task)

    def step(self) -> None:
        """Run what is ready."""
        self.poll(timeout_ms=0)
        due, self._later = self._later, []
        for task in due:
            self.call_soon(task)


class Client:
    """A client of three brokers, of which the first leads."""

    def __init__(self, silent: SilentBrokers) -> None:
        self.net = Loop()
        self.manager: Any = ClientConnections(
            self.net, lambda *_: None, silent, bootstrap_servers=["boot:9092"]
        )
        self.manager._bootstrap_future = Future().success(True)
        self.asked = 0
        self.led_by(1)
        self.manager.cluster.request_update = self._ask

    def connect(self, node: int, in_flight: int = 0) -> Connection:
        """Return a new connection to a broker."""
        connection = self.manager._conns[node] = Connection(in_flight)
        self.manager._silence.watch(connection, node)
        return connection

    def led_by(self, leader: int) -> None:
        """Take in an answer to a look-up of metadata."""
        partition = TOPIC.MetadataResponsePartition(
            version=FORMAT, error_code=0, partition_index=0, leader_id=leader, leader_epoch=leader
        )
        topic = TOPIC(
            version=FORMAT, error_code=0, name="in", is_internal=False, partitions=[partition]
        )
        brokers = [
            MetadataResponse.MetadataResponseBroker(
                node, f"host-{node}", 9092, None, version=FORMAT
            )
            for node in NODES
        ]
        self.manager.cluster.update_metadata(
            MetadataResponse(version=FORMAT, brokers=brokers, controller_id=1, topics=[topic])
        )

    def step(self) -> None:
        """Run what is ready."""
        self.net.step()

    def _ask(self) -> None:
        self.asked += 1


@pytest.fixture
def silent() -> SilentBrokers:
    """Share what is known."""
    return SilentBrokers()


def test_one_client_spares_the_others_a_request_timeout(silent: SilentBrokers) -> None:
    """They leave the broker where they wait for nothing, and ask who leads now."""
    consumer, producer = Client(silent), Client(silent)
    idle, busy = producer.connect(1), producer.connect(2, in_flight=1)
    asked = consumer.connect(1, in_flight=1)

    asked.close_future.failure(TIMED_OUT)
    producer.step()

    assert not idle.connected
    assert busy.connected
    assert producer.asked == 1


def test_what_is_waited_for_is_left_to_its_own_timeout(silent: SilentBrokers) -> None:
    """The broker may be slow with one answer alone: a new connection would tell."""
    consumer, producer = Client(silent), Client(silent)
    busy = producer.connect(1, in_flight=1)

    consumer.connect(1).close_future.failure(TIMED_OUT)
    producer.step()

    assert busy.connected


def test_it_is_asked_who_leads_until_another_broker_does(silent: SilentBrokers) -> None:
    """An election may take longer than the request that found the broker silent."""
    client = Client(silent)
    client.connect(1).close_future.failure(TIMED_OUT)

    for _ in range(3):
        client.step()
    before = client.asked
    client.led_by(2)
    for _ in range(3):
        client.step()

    assert before >= 3
    assert client.asked == before


def test_no_silent_broker_is_asked_a_question_that_others_can_answer(
    silent: SilentBrokers,
) -> None:
    """Though it has the fewest requests in flight, as one that was just given up has."""
    client = Client(silent)
    client.connect(2, in_flight=2)
    client.connect(3, in_flight=1)
    assert client.manager.least_loaded_node() == 1

    client.connect(1).close_future.failure(TIMED_OUT)
    del client.manager._conns[1]

    assert client.manager.least_loaded_node() == 3


def test_a_broker_that_answers_a_new_connection_is_silent_no_longer(silent: SilentBrokers) -> None:
    """Whichever client finds out; and one that closes a connection was not silent."""
    one, other = Client(silent), Client(silent)
    one.connect(1).close_future.failure(TIMED_OUT)
    one.connect(2).close_future.failure(errors.KafkaConnectionError())
    assert one.manager._silence.is_silent(1)
    assert not one.manager._silence.is_silent(2)

    other.connect(1).init_future.success(True)

    assert not one.manager._silence.is_silent(1)
