from contextlib import closing

from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from tests.support.kafka.kafka_servers import Server
from tests.support.kafka.port import LIMIT_SECONDS, Member, Port, eventually, numbered, send, unique
from tests.support.kafka.topics import delete_records
from tests.support.stages.environments import an_environment
from tests.support.stages.records import ManualClock
from topicserve.backends.broker import (
    MAX_OFFSET_TEXT_BYTES,
    LogOffsets,
    OffsetAndMetadata,
    metadata_of,
)
from topicserve.backends.kafka_clients import open_broker
from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.config.schema import KafkaConfig, TopicsConfig
from topicserve.worker.health.broker_watch import ASK_SECONDS, BrokerWatch
from topicserve.worker.offsets.tracker import OffsetTracker
from topicserve.worker.stages.consume import FlowControl


def test_a_log_begins_where_records_were_deleted(port: Port, server: Server) -> None:
    """Other partitions are as they were, and nothing that is left is lost."""
    topic = port.topic(partitions=2)
    send(port.producer(), numbered(topic, 10, partition=0))

    delete_records(server.bootstrap_servers, topic, 0, 4)

    found = port.broker.admin().log_offsets(
        [TopicPartition(topic, 0), TopicPartition(topic, 1)], LIMIT_SECONDS
    )
    assert found == {
        TopicPartition(topic, 0): LogOffsets(4, 10),
        TopicPartition(topic, 1): LogOffsets(0, 0),
    }
    read = port.member(topic).read(6)
    assert [record.offset for record in read] == list(range(4, 10))


def test_a_groups_offsets_can_be_asked_from_outside(port: Port) -> None:
    """None where nothing was committed."""
    topic, group = port.topic(partitions=2), unique("group")
    send(port.producer(), numbered(topic, 10, partition=0))
    member = port.member(topic, group)
    member.poll_until(lambda: member.assigned)
    member.consumer.commit({TopicPartition(topic, 0): 7}, LIMIT_SECONDS)

    found = port.broker.admin().committed(
        group, [TopicPartition(topic, 0), TopicPartition(topic, 1)], LIMIT_SECONDS
    )

    assert found == {TopicPartition(topic, 0): 7, TopicPartition(topic, 1): None}


def test_committed_offsets_come_with_their_texts(port: Port) -> None:
    """An admin sees the text that a member has committed beside an offset."""
    topic, group = port.topic(partitions=1), unique("group")
    partition = TopicPartition(topic, 0)
    send(port.producer(), numbered(topic, 3, partition=0))
    member = port.member(topic, group)
    member.poll_until(lambda: member.assigned)
    member.consumer.commit({partition: OffsetAndMetadata(2, "a text")}, LIMIT_SECONDS)

    found = port.broker.admin().committed(group, [partition], LIMIT_SECONDS)[partition]

    assert found == 2
    assert metadata_of(found) == "a text"


def test_texts_are_read_by_the_other_client_as_they_were(port: Port, server: Server) -> None:
    """A group may change its client; the longest text is taken, and none stays none."""
    topic, group = port.topic(partitions=2), unique("group")
    first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)
    text = "x" * MAX_OFFSET_TEXT_BYTES
    member = port.member(topic, group)
    member.poll_until(lambda: len(member.assigned) == 2)
    send(port.producer(), numbered(topic, 8))
    member.consumer.commit({first: OffsetAndMetadata(1, text), second: 1}, LIMIT_SECONDS)

    for client in ("kafka-python", "confluent"):
        admin = open_broker(client, {"bootstrap.servers": server.bootstrap_servers}).admin()
        with closing(admin):
            found = admin.committed(group, [first, second], LIMIT_SECONDS)
        texts = [metadata_of(found[one] or 0) for one in (first, second)]
        assert texts == [text, ""]


def test_an_offset_is_found_by_time(port: Port) -> None:
    """The first record at or after the time; none behind the last, and none in an empty log."""
    topic = port.topic(partitions=2)
    records = [
        replace(one, timestamp_ms=1000 * n) for n, one in enumerate(numbered(topic, 5, 0), 1)
    ]
    send(port.producer(), records)
    partitions = [TopicPartition(topic, 0), TopicPartition(topic, 1)]
    admin = port.broker.admin()

    found = [admin.offsets_at_time(partitions, ms, LIMIT_SECONDS) for ms in (0, 3000, 3001, 5001)]

    assert [one[partitions[0]] for one in found] == [0, 2, 3, None]
    assert [one[partitions[1]] for one in found] == [None] * 4


def test_a_groups_members_can_be_asked_from_outside(port: Port) -> None:
    """Each with what it is assigned; a group that does not exist is dead."""
    topic, group = port.topic(partitions=2), unique("group")
    member = port.member(topic, group)
    member.poll_until(lambda: len(member.assigned) == 2)

    found = port.broker.admin().describe_group(group, LIMIT_SECONDS)
    unknown = port.broker.admin().describe_group(unique("group"), LIMIT_SECONDS)

    assert found.state == "Stable"
    (one,) = found.members
    assert set(one.partitions) == {TopicPartition(topic, 0), TopicPartition(topic, 1)}
    assert (unknown.state, unknown.members) == ("Dead", ())


class Watched:
    """A member whose tracker is watched, step by step."""

    def __init__(self, port: Port, topic: str, group: str) -> None:
        self.registry = CollectorRegistry()
        self.tracker, self.clock, self._topic = OffsetTracker(), ManualClock(), topic
        self.member: Member = port.member(topic, group)
        environment = an_environment(
            self.registry,
            self.clock,
            topics=TopicsConfig((topic,), "out"),
            kafka=KafkaConfig(group_id=group),
        )
        environment.metrics.expect_topics([topic])
        flow = FlowControl(environment, self.member.consumer, self.tracker)
        self.watch = BrokerWatch(environment, port.broker.admin, self.tracker, flow)
        self._assigned = False

    def poll(self) -> list[int]:
        """Poll once as the worker does; return the offsets of all records so far."""
        polled = self.member.poll()
        if self.member.assigned and not self._assigned:
            self._assigned = True
            self.tracker.assign(self.member.assigned)
            self.watch.step()
        self.tracker.track(polled)
        if self._assigned:
            self.tracker.reading.pass_to(self.member.consumer.stats().positions)
        return [record.offset for record in self.member.records]

    def deleted(self) -> float | None:
        """Return how many records are counted as deleted."""
        self.clock.advance(ASK_SECONDS)
        self.watch.step()
        labels = {"topic": self._topic}
        return self.registry.get_sample_value("topicserve_deleted_records_total", labels)


def test_records_deleted_while_the_group_was_away_are_counted(port: Port, server: Server) -> None:
    """From the group's offset to the log's start, each once."""
    topic, group = port.topic(partitions=1), unique("group")
    send(port.producer(), numbered(topic, 10, partition=0))
    before = port.member(topic, group)
    before.poll_until(lambda: before.assigned)
    before.consumer.commit({TopicPartition(topic, 0): 3}, LIMIT_SECONDS)
    before.consumer.close(LIMIT_SECONDS)
    delete_records(server.bootstrap_servers, topic, 0, 8)

    watched = Watched(port, topic, group)
    eventually(lambda: watched.poll() == [8, 9])

    assert watched.deleted() == 5
    assert watched.deleted() == 5


def test_records_deleted_ahead_of_a_paused_member_are_counted(port: Port, server: Server) -> None:
    """Also where none is left: the next record, or the position, tells."""
    topic = port.topic(partitions=1)
    partition, producer = TopicPartition(topic, 0), port.producer()
    send(producer, numbered(topic, 10, partition=0))
    watched = Watched(port, topic, unique("group"))
    eventually(lambda: len(watched.poll()) == 10)
    assert watched.deleted() == 0

    watched.member.consumer.pause([partition])
    for _ in range(8):  # the fetch that had begun brings nothing
        watched.poll()
    send(producer, numbered(topic, 10, partition=0))
    delete_records(server.bootstrap_servers, topic, 0, 20)
    watched.member.consumer.resume([partition])
    send(producer, numbered(topic, 1, partition=0))
    eventually(lambda: watched.poll() == [*range(10), 20])

    assert watched.deleted() == 10
