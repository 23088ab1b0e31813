from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support.kafka_servers import Server
from tests.support.raw_aiokafka import Aiokafka
from tests.support.raw_client import RawClient
from tests.support.raw_confluent import Confluent
from tests.support.raw_kafka_python import KafkaPython

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
