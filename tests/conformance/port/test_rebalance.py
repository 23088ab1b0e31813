import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.kafka.kafka_servers import Server
from tests.support.kafka.port import Member, Port, eventually, numbered, numbers, send, unique
from tests.support.processes.child_process import ChildProcess
from topicserve.backends.errors import CommitRefusedError
from topicserve.wire.kafka_record import TopicPartition

# A member learns of a rebalance with its next heartbeat.
FAST = {"heartbeat.interval.ms": 100}
SHORT_SESSION = FAST | {"session.timeout.ms": 2_000}


def everything(topic: str, partitions: int = 4) -> set[TopicPartition]:
    """Return all partitions of a topic."""
    return {TopicPartition(topic, number) for number in range(partitions)}


def poll_all_until_shared(topic: str, *members: Member) -> None:
    """Poll members in turn until each has an equal share and all have everything."""

    def shared() -> bool:
        for member in members:
            member.poll()
        shares = [member.assigned for member in members]
        return (
            set().union(*shares) == everything(topic)
            and sum(map(len, shares)) == 4
            and max(map(len, shares)) - min(map(len, shares)) <= 1
        )

    eventually(shared)


def test_the_first_member_is_assigned_everything(port: Port) -> None:
    """A lone member hears once of all partitions, while it polls."""
    topic = port.topic()
    member = port.member(topic)

    member.poll_until(lambda: member.assigned)

    assert member.events == [("assigned", frozenset(everything(topic)))]
    assert member.consumer.stats().assigned == everything(topic)


def test_a_second_member_takes_only_what_it_needs(port: Port) -> None:
    """Cooperatively, the first keeps half without interruption and hears only of the other half."""
    topic, group_id = port.topic(), unique("group")
    first = port.member(topic, group_id, FAST)
    first.poll_until(lambda: len(first.assigned) == 4)
    second = port.member(topic, group_id, FAST)

    poll_all_until_shared(topic, first, second)

    (revoked,) = first.happened("revoked")
    assert len(revoked) == 2
    assert first.assigned == everything(topic) - revoked
    assert second.assigned == revoked
    assert not first.happened("lost")


@pytest.mark.parametrize("strategy", ["range", "roundrobin"])
def test_eager_strategies_share_as_well(port: Port, strategy: str) -> None:
    """Kafka's older assignors work: everything is given up and assigned again."""
    topic, group_id = port.topic(), unique("group")
    settings = FAST | {"partition.assignment.strategy": strategy}
    first = port.member(topic, group_id, settings)
    first.poll_until(lambda: len(first.assigned) == 4)
    second = port.member(topic, group_id, settings)

    poll_all_until_shared(topic, first, second)

    assert first.happened("revoked")[0] == everything(topic)


def test_a_join_that_ends_between_polls_counts(port: Port) -> None:
    """A member that did not poll when the group was agreed has its share with the next poll.

    Not so, it would join again; and as the leader, which the first member is, make all others join.
    """
    topic, group_id = port.topic(), unique("group")
    settings = FAST | {"partition.assignment.strategy": "range"}
    first = port.member(topic, group_id, settings)
    first.poll_until(lambda: len(first.assigned) == 4)
    second = port.member(topic, group_id, settings)
    poll_all_until_shared(topic, first, second)
    third = port.member(topic, group_id, settings)

    eventually(lambda: (third.poll(), first.poll(), len(first.happened("revoked")) == 2)[2])
    second.poll_until(lambda: len(second.happened("assigned")) == 2)
    first.poll_until(lambda: first.assigned)
    third.poll_until(lambda: third.assigned)

    assert first.assigned | second.assigned | third.assigned == everything(topic)
    assert len(first.happened("revoked")) == 2


def test_a_member_that_leaves_gives_back(port: Port) -> None:
    """When a member closes, the others get its partitions without waiting for its session."""
    topic, group_id = port.topic(), unique("group")
    first, second = port.member(topic, group_id, FAST), port.member(topic, group_id, FAST)
    poll_all_until_shared(topic, first, second)
    events = list(second.events)

    second.consumer.close(5)
    first.poll_until(lambda: len(first.assigned) == 4)

    assert second.events == events  # leaving is the caller's own doing


def test_a_member_without_partitions_leaves_as_well(port: Port, server: Server) -> None:
    """It had nothing to give back, and yet no one waits for its session to end."""
    topic, group_id = port.topic(partitions=1), unique("group")
    settings = FAST | {"session.timeout.ms": 60_000}
    first, second = port.member(topic, group_id, settings), port.member(topic, group_id, settings)
    members = _member_count(server.bootstrap_servers, group_id)
    eventually(lambda: (first.poll(), second.poll(), members() == 2)[2])
    eventually(lambda: (first.poll(), second.poll(), first.assigned or second.assigned)[2])
    idle, busy = (second, first) if first.assigned else (first, second)

    idle.consumer.close(5)

    eventually(lambda: (busy.poll(), members() == 1)[1])
    assert busy.assigned == everything(topic, 1)


def _member_count(bootstrap_servers: str, group_id: str) -> Callable[[], int]:
    """Return a function that asks how many members a group at rest has, -1 while it is not."""
    from confluent_kafka import ConsumerGroupState
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": bootstrap_servers})

    def count() -> int:
        group = admin.describe_consumer_groups([group_id])[group_id].result(30)
        return len(group.members) if group.state is ConsumerGroupState.STABLE else -1

    return count


def test_revoked_offsets_are_committed_before_they_go(port: Port) -> None:
    """What on_revoked returns is where the next owner begins: no record twice, none left out."""
    topic, group_id = port.topic(), unique("group")
    send(port.producer(), numbered(topic, 1_000))
    first = port.member(topic, group_id, FAST)
    first.poll_until(lambda: len(first.records) >= 300)
    second = port.member(topic, group_id, FAST)

    poll_all_until_shared(topic, first, second)
    eventually(
        lambda: (first.poll(), second.poll(), len(first.records) + len(second.records) >= 1_000)[2]
    )

    assert sorted(numbers(first.records) + numbers(second.records)) == list(range(1_000))


def drain_for(seconds: float) -> None:
    """Wait as a worker does for records that are in progress and take their time."""
    threading.Event().wait(seconds)


def test_a_listener_may_wait_longer_than_the_session(port: Port) -> None:
    """While on_revoked drains, heartbeats go on: the member is not thrown out."""
    topic, group_id = port.topic(), unique("group")
    first = port.member(topic, group_id, SHORT_SESSION)
    first.poll_until(lambda: len(first.assigned) == 4)
    first.before_revoked = lambda: drain_for(3)
    second = port.member(topic, group_id, SHORT_SESSION)
    polling = threading.Thread(target=lambda: second.poll_until(lambda: len(second.assigned) == 2))
    polling.start()

    first.poll_until(lambda: len(first.assigned) == 2)
    eventually(lambda: (first.poll(), not polling.is_alive())[1])

    assert first.happened("lost") == []
    assert first.assigned | second.assigned == everything(topic)


def test_the_listener_is_called_one_call_at_a_time(port: Port) -> None:
    """Calls come while `poll` runs: never two at once, never when no one polls."""
    topic, group_id = port.topic(), unique("group")
    first, second = port.member(topic, group_id, FAST), port.member(topic, group_id, FAST)

    poll_all_until_shared(topic, first, second)
    second.consumer.close(5)
    before = len(first.events)
    drain_for(1)
    unpolled = len(first.events)
    first.poll_until(lambda: len(first.assigned) == 4)

    assert unpolled == before
    names = {thread.name for thread in first.listener_threads}
    assert names <= {"MainThread", "kafka-python-rebalance"}


def test_an_error_of_the_listener_comes_out_of_poll(port: Port) -> None:
    """What the listener raises is raised by `poll`, as it is."""

    class ListenerError(Exception):
        pass

    def fail() -> None:
        raise ListenerError("cannot drain")

    topic, group_id = port.topic(), unique("group")
    first = port.member(topic, group_id, FAST)
    first.poll_until(lambda: len(first.assigned) == 4)
    first.before_revoked = fail
    second = port.member(topic, group_id, FAST)

    with pytest.raises(ListenerError):
        eventually(lambda: (second.poll(), first.poll(), False)[2])


def test_who_does_not_poll_loses_its_partitions(port: Port) -> None:
    """Past max.poll.interval.ms a member is out: commits are refused, partitions are lost."""
    topic, group_id = port.topic(), unique("group")
    send(port.producer(), numbered(topic, 10))
    settings = SHORT_SESSION | {"max.poll.interval.ms": 2_000}
    first = port.member(topic, group_id, settings)
    first.read(10)
    second = port.member(topic, group_id, settings)

    second.poll_until(lambda: len(second.assigned) == 4)
    with pytest.raises(CommitRefusedError):
        first.consumer.commit(first.next_offsets(), 10)

    def gone() -> set[TopicPartition]:
        first.poll()
        second.poll()
        return set().union(*first.happened("lost"), *first.happened("revoked"))

    eventually(lambda: gone() == everything(topic))
    # A client may have been asked for some of them before, and tells that first.
    assert first.happened("lost")


def test_a_static_member_comes_back_unnoticed(port: Port) -> None:
    """With group.instance.id, a restart within the session moves no partition."""
    topic, group_id = port.topic(), unique("group")
    settings = FAST | {"session.timeout.ms": 20_000}
    first = port.member(topic, group_id, settings | {"group.instance.id": "one"})
    second = port.member(topic, group_id, settings | {"group.instance.id": "two"})
    poll_all_until_shared(topic, first, second)
    share, events = set(second.assigned), list(first.events)

    second.consumer.close(5)
    for _ in range(10):
        first.poll()  # many heartbeats: a member that had left would be noticed
    again = port.member(topic, group_id, settings | {"group.instance.id": "two"})
    eventually(lambda: (first.poll(), again.poll(), again.assigned)[2])

    assert again.assigned == share
    assert first.events == events


def test_a_killed_member_is_replaced_in_its_session_time(
    port: Port, server: Server, client: str, tmp_path: Path
) -> None:
    """The partitions of a process that was killed go to the others; no one else is disturbed."""
    topic, group_id = port.topic(), unique("group")
    first = port.member(topic, group_id, SHORT_SESSION)
    first.poll_until(lambda: len(first.assigned) == 4)
    command = [sys.executable, "-c", _VICTIM, client, server.bootstrap_servers, topic, group_id]

    with ChildProcess(command, tmp_path / "log") as victim:
        first.poll_until(lambda: victim.log().endswith("assigned 2\n"))
        victim.kill()
        first.poll_until(lambda: len(first.assigned) == 4)

    assert first.happened("lost") == []


_VICTIM = """
import sys
from tests.conformance.port.test_rebalance import SHORT_SESSION
from tests.support.kafka.port import Port
from topicserve.backends.kafka_clients import open_broker

client, servers, topic, group_id = sys.argv[1:]
member = Port(open_broker(client, {"bootstrap.servers": servers})).member(
    topic, group_id, SHORT_SESSION
)
member.poll_until(lambda: len(member.assigned) == 2)
print("assigned 2", file=sys.stderr)
while True:
    member.poll()
"""


def test_new_partitions_are_assigned(port: Port, server: Server) -> None:
    """Partitions added to a topic are read by the group, from their first record."""
    topic = port.topic(partitions=2)
    member = port.member(topic, settings=FAST | {"metadata.max.age.ms": 1_000})
    member.poll_until(lambda: len(member.assigned) == 2)

    _add_partitions(server.bootstrap_servers, topic, 3)
    producer = port.producer({"metadata.max.age.ms": 1_000})
    send(producer, numbered(topic, 20, partition=2))

    assert numbers(member.read(20)) == list(range(20))
    assert member.assigned == everything(topic, 3)


def _add_partitions(bootstrap_servers: str, topic: str, count: int) -> None:
    from confluent_kafka.admin import AdminClient, NewPartitions

    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    admin.create_partitions([NewPartitions(topic, count)])[topic].result(30)
