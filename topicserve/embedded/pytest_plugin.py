"""pytest fixtures for users' own projects: a broker and a Redis server for the session."""

from collections.abc import Iterator

import pytest

from topicserve.embedded.kafka_server import KafkaServer
from topicserve.embedded.redis_server import RedisServer


@pytest.fixture(scope="session")
def topicserve_kafka() -> Iterator[KafkaServer]:
    """Run a Kafka-protocol broker; `.bootstrap_servers` says where."""
    with KafkaServer() as server:
        yield server


@pytest.fixture(scope="session")
def topicserve_redis() -> Iterator[RedisServer]:
    """Run a Redis-protocol server; `.redis_url` says where."""
    with RedisServer() as server:
        yield server
