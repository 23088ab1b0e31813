from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.support.kafka.kafka_servers import Server
from tests.support.kafka.port import Port
from topicserve.backends.kafka_clients import open_broker

OpenPort = Callable[[str], Port]


@pytest.fixture(params=["kafka-python", "confluent"])
def client(request: pytest.FixtureRequest) -> str:
    """Name the client of this run of a case."""
    name: str = request.param
    return name


@pytest.fixture
def open_port(client: str) -> Iterator[OpenPort]:
    """Open ports of the client on any server."""
    with ExitStack() as opened:

        def open_on(bootstrap_servers: str) -> Port:
            port = Port(open_broker(client, {"bootstrap.servers": bootstrap_servers}))
            opened.callback(port.close)
            return port

        yield open_on


@pytest.fixture
def port(open_port: OpenPort, server: Server) -> Port:
    """Give the port of the client on the broker."""
    return open_port(server.bootstrap_servers)


@pytest.fixture
def fragile_port(open_port: OpenPort, fragile_server: Server) -> Port:
    """Give the port of the client on a broker that may be frozen and killed."""
    return open_port(fragile_server.bootstrap_servers)
