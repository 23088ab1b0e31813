"""Topics that live as long as what uses them."""

from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka.admin import AdminClient, NewTopic

ADMIN_LIMIT_SECONDS = 30.0


@contextmanager
def open_topics(bootstrap_servers: str, *topics: str, partitions: int = 4) -> Iterator[None]:
    """Create topics, and delete them in the end: what runs leave behind adds up."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    new = [NewTopic(topic, num_partitions=partitions, replication_factor=1) for topic in topics]
    for created in admin.create_topics(new).values():
        created.result(ADMIN_LIMIT_SECONDS)
    try:
        yield
    finally:
        for deleted in admin.delete_topics(list(topics)).values():
            deleted.result(ADMIN_LIMIT_SECONDS)
