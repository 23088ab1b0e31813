"""Topics that live as long as what uses them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from kafka.protocol.metadata import MetadataRequest

from tests.support.processes.stack import raw_client

ADMIN_LIMIT_SECONDS = 30.0
_METADATA_VERSION = 7


@contextmanager
def open_topics(
    bootstrap_servers: str,
    *topics: str,
    partitions: int = 4,
    replication_factor: int = 1,
    config: dict[str, str] | None = None,
) -> Iterator[None]:
    """Create topics, and delete them in the end: what runs leave behind adds up."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 2})
    new = [NewTopic(topic, partitions, replication_factor, config=config or {}) for topic in topics]
    for created in admin.create_topics(new).values():
        created.result(ADMIN_LIMIT_SECONDS)
    for topic in topics:
        _wait_until_known(bootstrap_servers, topic, partitions)
    try:
        yield
    finally:
        for deleted in admin.delete_topics(list(topics)).values():
            deleted.result(ADMIN_LIMIT_SECONDS)


def create_again(bootstrap_servers: str, topic: str, partitions: int = 4) -> None:
    """Delete a topic and create another of its name, unless a client's question did so before."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 2})
    for deleted in admin.delete_topics([topic]).values():
        deleted.result(ADMIN_LIMIT_SECONDS)
    for created in admin.create_topics([NewTopic(topic, partitions, 1)]).values():
        problem = created.exception(ADMIN_LIMIT_SECONDS)
        assert problem is None or problem.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS, problem
    _wait_until_known(bootstrap_servers, topic, partitions)


def delete_records(bootstrap_servers: str, topic: str, partition: int, before: int) -> None:
    """Delete the records below an offset, as retention would."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 2})
    for deleted in admin.delete_records([TopicPartition(topic, partition, before)]).values():
        deleted.result(ADMIN_LIMIT_SECONDS)


def _wait_until_known(bootstrap_servers: str, topic: str, partitions: int) -> None:
    """Wait until each broker knows the topic: the controller, which made it, is ahead of them.

    A client asks any of them, and one that lags behind answers that there is no such topic.
    """
    deadline = time.monotonic() + ADMIN_LIMIT_SECONDS
    for address in bootstrap_servers.split(","):
        while _led_partitions(address, topic) != partitions:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{address} does not know topic {topic} within {ADMIN_LIMIT_SECONDS} s"
                )


def _led_partitions(address: str, topic: str) -> int:
    """Return how many partitions have a leader that this broker knows."""
    asked = MetadataRequest.MetadataRequestTopic(name=topic)
    with raw_client(address) as frames:
        answer = frames.ask(
            MetadataRequest(topics=[asked], allow_auto_topic_creation=False), _METADATA_VERSION
        )
    return sum(one.leader_id >= 0 for found in answer.topics for one in found.partitions)
