from collections.abc import Iterator

import pytest

from tests.support.kafka.port import Member, Port, eventually, numbered, numbers, send
from topicserve.backends.errors import CommitRefusedError
from topicserve.backends.kafka_clients import open_broker
from topicserve.embedded.kafka_server import KafkaServer
from topicserve.wire.kafka_record import TopicPartition

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def server() -> Iterator[KafkaServer]:
    """Run a broker that creates no topic unasked."""
    with KafkaServer(auto_create_topics=False) as running:
        yield running


def test_a_topic_that_is_made_again_is_another(server: KafkaServer) -> None:
    """Both clients say the same of it: a checkpoint may be used with either."""
    ports = [
        Port(open_broker(client, {"bootstrap.servers": server.bootstrap_servers}))
        for client in ("kafka-python", "confluent")
    ]
    topic, admin = ports[0].topic(1), ports[0].admin()

    first, same = (port.admin().topic_identity(topic, 10) for port in ports)
    others = [ports[0].topic(1) for _ in range(4)]
    told = [[port.admin().topic_identity(one, 10) for one in others] for port in ports]
    assert admin.delete_topic(topic, 10)
    eventually(lambda: admin.partitions(topic, 10) is None)
    gone = [port.admin().topic_identity(topic, 10) for port in ports]
    assert admin.create_topic(topic, 1, 10)
    again = admin.topic_identity(topic, 10)

    assert first is not None
    assert again is not None
    assert first == same
    assert told[0] == told[1]  # ids have characters that the clients write differently
    assert gone == [None, None]
    assert (first.cluster_id, bool(first.topic_id)) == (again.cluster_id, True)
    assert again.topic_id not in ("", first.topic_id)
    for port in ports:
        port.close()


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


@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_no_offset_of_a_deleted_topic_is_committed(client: str, server: KafkaServer) -> None:
    """It would be taken for one of the topic that is created again, and skip its first records."""
    port = Port(open_broker(client, {"bootstrap.servers": server.bootstrap_servers}))
    topic, admin = port.topic(1), port.admin()
    member = port.member(topic, settings={"metadata.max.age.ms": 500})
    assert send(port.producer(), numbered(topic, 10)) == [None] * 10
    member.read(10)
    stale = member.next_offsets()
    eventually(lambda: member.poll() == [] and member.consumer.stats().positions == stale)

    assert admin.delete_topic(topic, 10)
    (partition,) = stale
    # Until the client has noticed: it may also give the partition up.
    eventually(lambda: member.poll() == [] and (_is_unread(member) or not _has(member, partition)))
    assert admin.create_topic(topic, 1, 10)
    if _has(member, partition):
        member.consumer.commit(stale, 10)

    assert member.consumer.committed([partition], 10) == {partition: None}
    assert send(port.producer(), numbered(topic, 3)) == [None] * 3
    member.records.clear()
    member.read(3)
    member.consumer.commit(member.next_offsets(), 10)
    assert member.consumer.committed([partition], 10) == {partition: 3}
    assert member.consumer.stats().positions.get(partition, 3) == 3
    port.close()


@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_a_commit_for_a_topic_that_is_gone_is_refused(client: str, server: KafkaServer) -> None:
    """Also before polls find out, as in a stop: not repeated until the topic is created again."""
    port = Port(open_broker(client, {"bootstrap.servers": server.bootstrap_servers}))
    topic, admin = port.topic(1), port.admin()
    member = port.member(topic)
    assert send(port.producer(), numbered(topic, 10)) == [None] * 10
    member.read(10)
    stale = member.next_offsets()
    assert admin.delete_topic(topic, 10)
    eventually(lambda: admin.partitions(topic, 10) is None)

    with pytest.raises(CommitRefusedError):
        member.consumer.commit(stale, 60)

    assert admin.create_topic(topic, 1, 10)
    assert member.consumer.committed(list(stale), 10) == dict.fromkeys(stale)
    port.close()


def test_a_longer_topic_is_read_from_its_beginning_too(server: KafkaServer) -> None:
    """kafka-python tells it by the topic's id; librdkafka gives none, and goes on where it was."""
    port = Port(open_broker("kafka-python", {"bootstrap.servers": server.bootstrap_servers}))
    topic, admin = port.topic(1), port.admin()
    member = port.member(topic, settings={"metadata.max.age.ms": 500})
    assert send(port.producer(), numbered(topic, 10)) == [None] * 10
    member.read(10)
    member.records.clear()

    assert admin.delete_topic(topic, 10)
    assert admin.create_topic(topic, 1, 10)
    assert send(port.producer(), numbered(topic, 30)) == [None] * 30
    member.poll_until(lambda: set(numbers(member.records)) == set(range(30)))

    port.close()


def _has(member: Member, partition: TopicPartition) -> bool:
    return partition in member.consumer.stats().assigned


def _is_unread(member: Member) -> bool:
    return bool(member.consumer._unread)  # type: ignore[attr-defined]
