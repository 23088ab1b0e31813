from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import pytest

from tests.support.kafka.port import Port, eventually, numbered, send, unique
from topicserve.backends.broker import Admin
from topicserve.backends.errors import BackendError, UnknownTopicError
from topicserve.backends.kafka_clients import open_broker
from topicserve.embedded.kafka_server import KafkaServer
from topicserve.wire.kafka_record import TopicPartition

CLIENTS = pytest.mark.parametrize("client", ["kafka-python", "confluent"])
pytestmark = pytest.mark.servers
SOON = {"metadata.max.age.ms": 100}


@pytest.fixture(scope="module")
def server() -> Iterator[KafkaServer]:
    """Run a broker that creates a topic for anyone who asks for one, as Kafka does by default."""
    with KafkaServer(auto_create_topics=True) as running:
        yield running


@pytest.fixture
def port(client: str, server: KafkaServer) -> Iterator[Port]:
    """Return a client's port; its metadata is asked for again and again."""
    opened = Port(open_broker(client, {"bootstrap.servers": server.bootstrap_servers, **SOON}))
    yield opened
    opened.close()


def is_there(server: KafkaServer, topic: str) -> bool:
    """Ask with a client of its own, which has never heard of the topic."""
    admin = open_broker("confluent", {"bootstrap.servers": server.bootstrap_servers}).admin()
    with closing(admin):
        return admin.partitions(topic, 10) is not None


def publish_and_end(server: KafkaServer, topic: str, count: int) -> None:
    """Publish, and end the producer: one that goes on creates what it has sent to."""
    broker = open_broker("kafka-python", {"bootstrap.servers": server.bootstrap_servers})
    producer = broker.producer()
    assert send(producer, numbered(topic, count)) == [None] * count
    producer.close(5)


@CLIENTS
def test_a_consumer_does_not_create_its_deleted_topic_again(
    port: Port, server: KafkaServer
) -> None:
    """It would have the broker's default of partitions, and the group would read an empty topic."""
    topic = port.topic(2)
    member = port.member(topic)
    publish_and_end(server, topic, 10)
    member.read(10)

    assert port.admin().delete_topic(topic, 10)
    eventually(lambda: not is_there(server, topic))
    assert [member.poll() for _ in range(20)] == [[]] * 20

    assert not is_there(server, topic)
    assert topic in member.consumer.stats().problem


@CLIENTS
def test_a_consumer_whose_broker_is_away_tells_its_last_error(client: str) -> None:
    """For /readyz: `poll` itself comes back empty."""
    port = Port(open_broker(client, {"bootstrap.servers": "127.0.0.1:1"}))
    member = port.member("any")

    assert member.consumer.stats().problem == ""
    eventually(lambda: member.poll() or member.consumer.stats().problem)

    assert member.records == []
    port.close()


@CLIENTS
def test_a_consumer_does_not_create_a_topic_that_never_was(port: Port, server: KafkaServer) -> None:
    """A wrong name must not become a new topic."""
    topic = unique("wrong")
    member = port.member(topic)

    with pytest.raises(UnknownTopicError, match=topic):
        eventually(lambda: member.poll())

    assert not is_there(server, topic)


@pytest.mark.parametrize(
    "ask",
    [
        lambda admin, topic: admin.partitions(topic, 2),
        lambda admin, topic: admin.end_offsets(topic, 2),
        lambda admin, topic: admin.log_offsets([TopicPartition(topic, 0)], 2),
        lambda admin, topic: admin.committed("group", [TopicPartition(topic, 0)], 2),
        lambda admin, topic: admin.topic_config(topic, "max.message.bytes", 2),
    ],
    ids=["partitions", "end_offsets", "log_offsets", "committed", "topic_config"],
)
@CLIENTS
def test_an_admin_creates_nothing_by_asking(
    port: Port, server: KafkaServer, ask: Callable[[Admin, str], object]
) -> None:
    """A worker asks about its input topic while that is deleted."""
    topic, admin = unique("asked"), port.admin()

    with suppress(BackendError):
        ask(admin, topic)
    admin.partitions(port.topic(1), 10)  # by now the first question is answered

    assert not is_there(server, topic)
