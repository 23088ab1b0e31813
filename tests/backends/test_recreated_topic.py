from collections.abc import Iterator

import pytest

from tests.support.port import Port, eventually, numbered, numbers, send
from topicserve.backends.kafka_clients import open_broker
from topicserve.embedded.kafka_server import KafkaServer

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def server() -> Iterator[KafkaServer]:
    """Run a broker that creates no topic unasked."""
    with KafkaServer(auto_create_topics=False) as running:
        yield running


@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_a_topic_that_is_deleted_is_waited_for(client: str, server: KafkaServer) -> None:
    """Polls come back empty meanwhile; when it is there again it is read from its beginning."""
    port = Port(open_broker(client, {"bootstrap.servers": server.bootstrap_servers}))
    topic, admin = port.topic(2), port.admin()
    member = port.member(topic, settings={"metadata.max.age.ms": 500})
    assert send(port.producer(), numbered(topic, 10)) == [None] * 10
    member.read(10)
    member.consumer.commit(member.next_offsets(), 10)
    member.records.clear()

    assert admin.delete_topic(topic, 10)
    eventually(lambda: admin.partitions(topic, 10) is None)
    # For longer than the client looks for its topics once.
    assert [member.poll() for _ in range(40)] == [[]] * 40
    assert admin.create_topic(topic, 2, 10)
    assert send(port.producer(), numbered(topic, 30)) == [None] * 30
    member.read(30)

    assert sorted(numbers(member.records)) == list(range(30))
    port.close()
