"""pytest fixtures for users' own projects: both servers, or one of them, for the whole session.

pytest finds them by the entry point of the installed package, so a test names a fixture and imports
nothing. Topics and keys are shared by the session's tests: take names of a test's own.
"""

from collections.abc import Iterator

import pytest

from topicserve.embedded.kafka_server import KafkaServer
from topicserve.embedded.redis_server import RedisServer
from topicserve.embedded.stack import Stack


@pytest.fixture(scope="session")
def topicserve_stack() -> Iterator[Stack]:
    """Run both; `.bootstrap_servers` and `.redis_url` say where, `.kafka` and `.redis` are they."""
    with Stack() as stack:
        yield stack


@pytest.fixture(scope="session")
def topicserve_kafka(topicserve_stack: Stack) -> KafkaServer:
    """Give the stack's Kafka-protocol broker; `.bootstrap_servers` says where."""
    return topicserve_stack.kafka


@pytest.fixture(scope="session")
def topicserve_redis(topicserve_stack: Stack) -> RedisServer:
    """Give the stack's Redis-protocol server; `.redis_url` says where."""
    return topicserve_stack.redis
