"""Topics that live as long as what uses them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

ADMIN_LIMIT_SECONDS = 30.0


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
        _wait_until_known(admin, topic, partitions)
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
    _wait_until_known(admin, topic, partitions)


def delete_records(bootstrap_servers: str, topic: str, partition: int, before: int) -> None:
    """Delete the records below an offset, as retention would."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 2})
    for deleted in admin.delete_records([TopicPartition(topic, partition, before)]).values():
        deleted.result(ADMIN_LIMIT_SECONDS)


def _wait_until_known(admin: AdminClient, topic: str, partitions: int) -> None:
    """Wait until the broker itself knows the topic: the controller, which made it, is ahead."""
    deadline = time.monotonic() + ADMIN_LIMIT_SECONDS
    while time.monotonic() < deadline:
        found = admin.list_topics(topic, timeout=ADMIN_LIMIT_SECONDS).topics[topic]
        leaders = [one.leader for one in found.partitions.values() if one.leader >= 0]
        if len(leaders) == partitions:
            return
    raise TimeoutError(f"topic {topic} is not known within {ADMIN_LIMIT_SECONDS} s")
