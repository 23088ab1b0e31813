from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support.kafka.kafka_servers import Server
from tests.support.kafka.port import unique
from tests.support.processes.stack import RawClient as Frames
from tests.support.processes.stack import raw_client
from tests.support.raw_clients.raw_aiokafka import Aiokafka
from tests.support.raw_clients.raw_client import RawClient
from tests.support.raw_clients.raw_confluent import Confluent
from tests.support.raw_clients.raw_kafka_python import KafkaPython

OpenClient = Callable[[str], RawClient]

_CLIENTS: dict[str, Any] = {
    "kafka-python": KafkaPython,
    "confluent": Confluent,
    "aiokafka": Aiokafka,
}


@pytest.fixture(params=list(_CLIENTS))
def client(request: pytest.FixtureRequest) -> str:
    """Name the client of this run of a case."""
    name: str = request.param
    return name


@pytest.fixture
def open_client(client: str) -> Iterator[OpenClient]:
    """Open the client library on any server; it ends with the test."""
    with ExitStack() as opened:

        def open_on(bootstrap_servers: str) -> RawClient:
            raw: RawClient = _CLIENTS[client](bootstrap_servers)
            opened.callback(raw.close)
            return raw

        yield open_on


@pytest.fixture
def raw(open_client: OpenClient, server: Server) -> RawClient:
    """Give the client library on the broker."""
    return open_client(server.bootstrap_servers)


@pytest.fixture
def frames(server: Server) -> Iterator[Frames]:
    """Open a connection to the broker, without any client library."""
    with raw_client(server.bootstrap_servers) as opened:
        yield opened


@pytest.fixture
def topic_of_two(server: Server) -> str:
    """Create a topic with two partitions, for tests of frames."""
    name = unique("topic")
    admin = KafkaPython(server.bootstrap_servers)
    admin.create_topic(name, 2)
    admin.close()
    return name
