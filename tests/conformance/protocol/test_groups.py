import sys
from pathlib import Path

import pytest

from tests.support.kafka.kafka_servers import Server
from tests.support.kafka.port import eventually, unique
from tests.support.processes.child_process import ChildProcess
from tests.support.raw_clients.raw_client import RawClient
from tests.support.raw_clients.raw_groups import PolledMember, polled, wait_shared

FAST = {"heartbeat_interval_ms": 100}
STRATEGIES = ["range", "roundrobin", "sticky", "cooperative-sticky"]


def fill(raw: RawClient, topic: str, partitions: int, each: int) -> None:
    """Create a topic with records in every partition."""
    raw.create_topic(topic, partitions)
    producer = raw.producer()
    for number in range(partitions * each):
        producer.send(topic, number % partitions, b"%d" % number)
    producer.flush()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_members_join_and_leave_and_commits_go_on(raw: RawClient, strategy: str) -> None:
    """Three members share evenly, commit, and when one leaves the others share again."""
    if strategy not in raw.strategies:
        pytest.skip(f"the client has no {strategy} assignor")
    topic, group_id = unique("topic"), unique("group")
    fill(raw, topic, 6, 50)
    settings = FAST | {"partition_assignment_strategy": strategy}

    with polled(topic, raw.consumer(group_id, **settings)) as (first,):
        wait_shared([first], 6)
        with polled(topic, *(raw.consumer(group_id, **settings) for _ in range(2))) as others:
            wait_shared([first, *others], 6)
            for member in [first, *others]:
                commit_share(member, 50)
            others[1].leave()
            wait_shared([first, others[0]], 6)
            commit_share(first, 49)
    assert set(raw.group_offsets(group_id)) == {(topic, number) for number in range(6)}


def commit_share(member: PolledMember, offset: int) -> None:
    """Commit an offset for all that a member has."""
    share = sorted(member.assigned)

    def commit() -> None:
        for partition in share:
            member.consumer.commit(partition, offset)

    member.call(commit)


def test_committed_offsets_survive_a_restart_of_the_consumer(raw: RawClient) -> None:
    """A new member begins where the group was, and finds offsets and their metadata unchanged."""
    topic, group_id = unique("topic"), unique("group")
    fill(raw, topic, 1, 100)
    with polled(topic, raw.consumer(group_id, **FAST)) as (first,):
        first.wait(lambda: len(first.records) >= 100)
        first.call(lambda: first.consumer.commit((topic, 0), 42, "so far"))
        first.leave()

    with polled(topic, raw.consumer(group_id, **FAST)) as (second,):
        second.wait(lambda: len(second.records) >= 58)
        found: list[int | None] = []
        second.call(lambda: found.append(second.consumer.committed((topic, 0))))

    assert second.records[0].offset == 42
    assert found == [42]
    assert raw.commit_metadata(group_id) == {(topic, 0): "so far"}


def test_a_group_is_joined_at_once(raw: RawClient) -> None:
    """No one waits for half a session, which here would be longer than the test does."""
    topic, group_id = unique("topic"), unique("group")
    raw.create_topic(topic, 4)

    with polled(topic, raw.consumer(group_id, session_timeout_ms=120_000)) as (member,):
        wait_shared([member], 4)

    assert len(member.shares) == 1


def test_a_static_member_rejoins_without_a_rebalance(raw: RawClient) -> None:
    """A member with an instance id that comes back in its session gets what it had."""
    topic, group_id = unique("topic"), unique("group")
    raw.create_topic(topic, 4)
    settings = FAST | {"session_timeout_ms": 20_000}

    with polled(topic, raw.consumer(group_id, group_instance_id="one", **settings)) as (first,):
        with polled(topic, raw.consumer(group_id, group_instance_id="two", **settings)) as (
            second,
        ):
            wait_shared([first, second], 4)
            share, before = set(second.assigned), len(first.shares)
            second.leave()
        with polled(topic, raw.consumer(group_id, group_instance_id="two", **settings)) as (again,):
            again.wait(lambda: again.assigned)
            assert again.assigned == share
        assert len(first.shares) == before


def test_a_killed_member_is_evicted_at_its_session_timeout(
    raw: RawClient, server: Server, client: str, tmp_path: Path
) -> None:
    """The partitions of a process killed with SIGKILL are served by the others again."""
    topic, group_id = unique("topic"), unique("group")
    raw.create_topic(topic, 4)
    settings = FAST | {"session_timeout_ms": 2_000}
    command = [sys.executable, "-c", _VICTIM, client, server.bootstrap_servers, topic, group_id]

    with polled(topic, raw.consumer(group_id, **settings)) as (first,):
        wait_shared([first], 4)
        with ChildProcess(command, tmp_path / "log") as victim:
            first.wait(lambda: len(first.assigned) == 2)
            assert victim.read_line(30) == "assigned"
            victim.kill()
            first.wait(lambda: len(first.assigned) == 4)


_VICTIM = """
import sys, threading
from tests.conformance.protocol.conftest import _CLIENTS
from tests.support.raw_clients.raw_groups import polled

client, servers, topic, group_id = sys.argv[1:]
consumer = _CLIENTS[client](servers).consumer(
    group_id, session_timeout_ms=2_000, heartbeat_interval_ms=100
)
with polled(topic, consumer) as (member,):
    member.wait(lambda: len(member.assigned) == 2)
    print("assigned", flush=True)
    threading.Event().wait()
"""


def test_groups_are_listed_and_described(raw: RawClient) -> None:
    """Admin tools see the group, its members, its offsets, and so its lag."""
    topic, group_id = unique("topic"), unique("group")
    fill(raw, topic, 2, 30)

    with polled(topic, raw.consumer(group_id, **FAST), raw.consumer(group_id, **FAST)) as members:
        wait_shared(members, 2)
        for member in members:
            commit_share(member, 10)
        listed, described = raw.groups(), raw.members(group_id)
        eventually(lambda: len(raw.group_offsets(group_id)) == 2)

    assert group_id in listed
    assert described == 2
    assert raw.group_offsets(group_id) == {(topic, 0): 10, (topic, 1): 10}
    reader = raw.consumer()
    reader.assign((topic, 0))
    assert reader.offsets((topic, 0))[1] - 10 == 20


def test_two_groups_do_not_disturb_each_other(raw: RawClient) -> None:
    """Each group reads everything, at its own pace."""
    topic = unique("topic")
    fill(raw, topic, 2, 50)

    with (
        polled(topic, raw.consumer(unique("group"), **FAST)) as (first,),
        polled(topic, raw.consumer(unique("group"), **FAST)) as (second,),
    ):
        first.wait(lambda: len(first.records) >= 100)
        second.wait(lambda: len(second.records) >= 100)

    assert len(first.records) == len(second.records) == 100
