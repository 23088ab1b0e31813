import sys
from collections.abc import Mapping
from pathlib import Path

from tests.support.kafka.kafka_servers import Server
from tests.support.kafka.port import (
    LIMIT_SECONDS,
    Port,
    eventually,
    numbered,
    numbers,
    send,
    unique,
)
from tests.support.processes.child_process import ChildProcess
from topicserve.backends.broker import OffsetAndMetadata, metadata_of
from topicserve.wire.kafka_record import KafkaRecord, TopicPartition


def test_a_poll_returns_as_soon_as_a_record_comes(port: Port) -> None:
    """A long poll with room for many records does not wait for more than the first."""
    topic = port.topic()
    member = port.member(topic)
    member.poll_until(lambda: member.assigned)
    producer = port.producer()

    for number in range(5):
        send(producer, numbered(topic, number + 1)[number:])
        # The whole suite's limit is shorter than what this would wait.
        polled = member.consumer.poll(600, 10_000)
        assert numbers(polled) == [number]


def test_a_poll_returns_no_more_than_asked_for(port: Port) -> None:
    """`max_records` bounds what one poll returns, and the next goes on behind it."""
    topic = port.topic(partitions=1)
    send(port.producer(), numbered(topic, 100))
    member = port.member(topic)

    sizes = set()
    while len(member.records) < 100:
        sizes.add(len(member.poll(max_records=7)))

    assert max(sizes) == 7
    assert numbers(member.records) == list(range(100))


def test_records_come_in_offset_order_per_partition(port: Port) -> None:
    """Within a partition no record overtakes another, over many polls."""
    topic = port.topic()
    send(port.producer(), numbered(topic, 2_000))

    by_partition: dict[int, list[int]] = {}
    for record in port.member(topic).read(2_000):
        by_partition.setdefault(record.partition, []).append(record.offset)

    assert len(by_partition) == 4
    assert all(offsets == list(range(len(offsets))) for offsets in by_partition.values())


def test_a_topic_is_read_that_is_there_only_a_moment_later(fragile_port: Port) -> None:
    """Brokers hear of a new topic one after the other, and a client asks any of them."""
    topic = unique("late")
    member = fragile_port.member(topic)
    member.poll()

    assert fragile_port.admin().create_topic(topic, 2, LIMIT_SECONDS)

    member.poll_until(lambda: len(member.assigned) == 2)
    send(fragile_port.producer(), numbered(topic, 10))
    assert sorted(numbers(member.read(10))) == list(range(10))


def test_a_pause_loses_no_record(port: Port) -> None:
    """Paused partitions are silent while polling goes on; resumed, they go on where they were."""
    topic = port.topic(partitions=2)
    send(port.producer(), numbered(topic, 1_000, partition=0))
    send(port.producer(), numbered(topic, 1_000, partition=1))
    member = port.member(topic)
    member.poll_until(lambda: {r.partition for r in member.records} == {0, 1})
    before = len(member.records)

    member.consumer.pause([TopicPartition(topic, 0)])
    member.poll_until(lambda: count(member.records, 1) == 1_000)
    silent = [member.poll() for _ in range(5)]
    paused = member.consumer.stats().paused
    read_of_0 = count(member.records[:before], 0)
    assert count(member.records, 0) == read_of_0
    member.consumer.resume([TopicPartition(topic, 0)])
    member.read(2_000)

    assert silent == [[]] * 5
    assert paused == {TopicPartition(topic, 0)}
    assert member.consumer.stats().paused == frozenset()
    for partition in (0, 1):
        read = [r for r in member.records if r.partition == partition]
        assert numbers(read) == list(range(1_000))


def test_many_pauses_lose_no_record(port: Port) -> None:
    """Pausing and resuming while records flow neither loses nor repeats one."""
    topic = port.topic(partitions=2)
    send(port.producer(), numbered(topic, 1_500))
    member = port.member(topic)
    everything = [TopicPartition(topic, 0), TopicPartition(topic, 1)]
    member.poll_until(lambda: member.assigned)

    while len(member.records) < 1_500:
        eventually(lambda: member.poll(max_records=100))
        member.consumer.pause(everything)
        member.poll()
        member.consumer.resume(everything)

    assert sorted(numbers(member.records)) == list(range(1_500))


def test_what_is_not_assigned_is_ignored(port: Port) -> None:
    """Pausing, resuming and seeking partitions of others does nothing and raises nothing."""
    topic = port.topic()
    member = port.member(topic)
    member.poll_until(lambda: member.assigned)
    not_ours = TopicPartition(topic, 99)

    member.consumer.pause([not_ours])
    member.consumer.resume([not_ours])
    member.consumer.seek({not_ours: 5})

    assert member.consumer.stats().assigned == member.assigned
    assert member.consumer.stats().paused == frozenset()


def test_a_seek_goes_back_and_forth(port: Port) -> None:
    """After a seek the next record is the one at that offset, whatever was fetched before."""
    topic = port.topic(partitions=1)
    send(port.producer(), numbered(topic, 500))
    member = port.member(topic)
    member.read(300)
    partition = TopicPartition(topic, 0)

    for offset in (10, 450, 0, 499):
        member.records.clear()
        member.consumer.seek({partition: offset})
        assert numbers(member.read(1))[0] == offset


def test_a_partition_may_be_sought_as_soon_as_it_is_assigned(port: Port) -> None:
    """Where the client has not begun to fetch yet, it begins there."""
    topic = port.topic(partitions=1)
    send(port.producer(), numbered(topic, 20))
    partition = TopicPartition(topic, 0)
    for _ in range(5):
        member = port.member(topic)
        while not member.assigned:
            member.consumer.poll(0, 1)

        member.consumer.seek({partition: 5})
        member.consumer.seek({partition: 11})

        assert numbers(member.read(9)) == list(range(11, 20))


def test_a_paused_partition_may_be_sought(port: Port) -> None:
    """A seek while paused takes effect with the resume: how a worker begins again."""
    topic = port.topic(partitions=1)
    send(port.producer(), numbered(topic, 500))
    member = port.member(topic)
    member.read(300)
    partition = TopicPartition(topic, 0)

    member.consumer.pause([partition])
    member.consumer.seek({partition: 42})
    member.poll()
    member.records.clear()
    member.consumer.resume([partition])

    assert numbers(member.read(1))[0] == 42


def test_committed_offsets_are_resumed(port: Port) -> None:
    """A new member of the group goes on exactly at the offsets that were committed."""
    topic, group_id = port.topic(partitions=2), unique("group")
    send(port.producer(), numbered(topic, 100, partition=0))
    send(port.producer(), numbered(topic, 100, partition=1))
    first = port.member(topic, group_id)
    first.read(200)
    offsets = {TopicPartition(topic, 0): 30, TopicPartition(topic, 1): 70}

    first.consumer.commit(offsets, 10)
    assert first.consumer.committed(list(offsets), 10) == offsets
    first.consumer.close(5)
    second = port.member(topic, group_id)
    read = second.read(100)

    assert {p: min(numbers([r for r in read if r.partition == p])) for p in (0, 1)} == {
        0: 30,
        1: 70,
    }


def test_a_text_is_committed_beside_an_offset(port: Port) -> None:
    """Another member of the group reads it, and a commit without a text removes it."""
    topic, group_id = port.topic(partitions=1), unique("group")
    partition = TopicPartition(topic, 0)
    send(port.producer(), numbered(topic, 10))
    member = port.member(topic, group_id)
    member.read(10)

    def committed() -> tuple[int, str]:
        found = member.consumer.committed([partition], 10)[partition]
        assert found is not None
        return found, metadata_of(found)

    member.consumer.commit({partition: OffsetAndMetadata(3, "attempt 2")}, 10)
    assert committed() == (3, "attempt 2")
    member.consumer.commit({partition: 4}, 10)
    assert committed() == (4, "")


def test_without_commits_offsets_are_unknown(port: Port) -> None:
    """A group that committed nothing has no offsets, and closing commits none."""
    topic, group_id = port.topic(partitions=1), unique("group")
    send(port.producer(), numbered(topic, 10))
    first = port.member(topic, group_id)
    first.read(10)

    first.consumer.close(5)
    second = port.member(topic, group_id)

    assert numbers(second.read(10)) == list(range(10))
    assert second.consumer.committed([TopicPartition(topic, 0)], 10) == {
        TopicPartition(topic, 0): None
    }


def test_a_killed_members_records_are_read_again(
    port: Port, server: Server, client: str, tmp_path: Path
) -> None:
    """What a killed process had read and not committed goes to the group's next member."""
    topic, group_id = port.topic(partitions=1), unique("group")
    send(port.producer(), numbered(topic, 50))
    settings = {"session.timeout.ms": 2_000}
    victim = ChildProcess(
        [sys.executable, "-c", _VICTIM, client, server.bootstrap_servers, topic, group_id],
        tmp_path / "log",
    )

    with victim:
        assert victim.read_line(30) == "read 50, committed 20"
        victim.kill()
    read = port.member(topic, group_id, settings).read(30)

    assert numbers(read) == list(range(20, 50))


_VICTIM = """
import sys, threading
from tests.support.kafka.port import Port
from topicserve.backends.kafka_clients import open_broker
from topicserve.wire.kafka_record import TopicPartition

client, servers, topic, group_id = sys.argv[1:]
port = Port(open_broker(client, {"bootstrap.servers": servers}))
member = port.member(topic, group_id, {"session.timeout.ms": 2_000})
member.read(50)
member.consumer.commit({TopicPartition(topic, 0): 20}, 10)
print("read 50, committed 20", flush=True)
threading.Event().wait()
"""


def test_lag_is_what_is_left_to_read(port: Port) -> None:
    """The lag of a partition is the number of records behind its end, nought when all are read."""
    topic = port.topic(partitions=1)
    producer = port.producer()
    send(producer, numbered(topic, 100))
    member = port.member(topic)
    partition = TopicPartition(topic, 0)

    eventually(lambda: member.poll(max_records=10))
    read = len(member.records)
    assert member.consumer.stats().lag_records == {partition: 100 - read}
    member.read(100)

    eventually(lambda: (member.poll(), lag(member.consumer.stats().lag_records) == 0)[1])


def test_an_empty_topic_has_no_lag(port: Port) -> None:
    """Anyone who reads until the end learns that there is nothing, without a record."""
    topic = port.topic(partitions=3)
    member = port.member(topic)

    eventually(
        lambda: (
            member.poll(),
            len(member.consumer.stats().lag_records) == 3
            and lag(member.consumer.stats().lag_records) == 0,
        )[1]
    )


def count(records: list[KafkaRecord], partition: int) -> int:
    """Return how many records are of a partition."""
    return sum(record.partition == partition for record in records)


def lag(lag_records: Mapping[TopicPartition, int]) -> int | None:
    """Return the lag of all partitions, None where none is known."""
    return sum(lag_records.values()) if lag_records else None
