"""A member of a group that has more members than partitions."""

import time
from collections.abc import Sequence

import pytest

from tests.support.kafka.topics import open_topics
from topicserve.backends.broker import Offsets
from topicserve.backends.kafka_clients import open_broker
from topicserve.embedded.stack import Stack
from topicserve.wire.kafka_record import TopicPartition

LIMIT_SECONDS = 30.0
pytestmark = pytest.mark.servers


class Deaf:
    """A listener that does nothing."""

    def on_assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """Nothing is read here."""

    def on_revoked(self, partitions: Sequence[TopicPartition]) -> Offsets:  # noqa: ARG002
        return {}

    def on_lost(self, partitions: Sequence[TopicPartition]) -> None:
        """Nothing is read here."""


@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_a_member_without_partitions_knows_that_it_has_joined(client: str) -> None:
    """It stands by for the others, and is ready."""
    topic = f"one-{client}"
    with Stack() as stack, open_topics(stack.bootstrap_servers, topic, partitions=1):
        broker = open_broker(client, {"bootstrap.servers": stack.bootstrap_servers})
        members = [broker.consumer("group") for _ in range(2)]
        assert not any(member.stats().is_member for member in members)
        for member in members:
            member.subscribe([topic], Deaf())
        deadline = time.monotonic() + LIMIT_SECONDS
        joined: list[bool] = [False]
        while not all(joined) and time.monotonic() < deadline:
            for member in members:
                member.poll(0.1, 10)
            joined = [member.stats().is_member for member in members]
        assigned = sorted(len(member.stats().assigned) for member in members)
        for member in members:
            member.close(5.0)

    assert (joined, assigned) == ([True, True], [0, 1])
