from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.kafka.kafka_servers import BROKERS, Server, open_server
from topicserve.embedded.kafka_server import KafkaServer


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let one worker of pytest-xdist have Apache Kafka to itself, and another all the rest.

    Cases wait for timeouts more than they work, and each worker starts its own servers.
    """
    for item in items:
        group = "apache" if item.get_closest_marker("kafka") else "embedded"
        item.add_marker(pytest.mark.xdist_group(group))


class Servers:
    """Starts each broker once, when a test first asks for it."""

    def __init__(self, opened: ExitStack, *, auto_create_topics: bool) -> None:
        self._opened = opened
        self._auto_create_topics = auto_create_topics
        self._servers: dict[str, Server] = {}

    def get(self, broker: str) -> Server:
        """Return the session's server."""
        if broker not in self._servers:
            server = open_server(broker, auto_create_topics=self._auto_create_topics)
            self._servers[broker] = self._opened.enter_context(server)
        return self._servers[broker]


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Share one server of each kind, on which topics are created when they are asked for."""
    with ExitStack() as opened:
        yield Servers(opened, auto_create_topics=True)


@pytest.fixture(scope="session")
def fragile_servers() -> Iterator[Servers]:
    """Share one more of each, to freeze and to kill, on which no topic is created unasked."""
    with ExitStack() as opened:
        yield Servers(opened, auto_create_topics=False)


@pytest.fixture(
    params=[pytest.param(b, marks=[pytest.mark.kafka] * (b == "apache")) for b in BROKERS]
)
def broker_name(request: pytest.FixtureRequest) -> str:
    """Name the broker of this run of a case."""
    name: str = request.param
    return name


@pytest.fixture
def server(servers: Servers, broker_name: str) -> Server:
    """Give the broker of this run of a case."""
    return servers.get(broker_name)


@pytest.fixture
def fragile_server(fragile_servers: Servers, broker_name: str) -> Server:
    """Give a broker that may be frozen and killed, and must be running when the test ends."""
    return fragile_servers.get(broker_name)


@pytest.fixture
def durable_server(fragile_servers: Servers, broker_name: str, tmp_path: Path) -> Iterator[Server]:
    """Give a broker that keeps its data over a kill, and must be running when the test ends."""
    if broker_name == "apache":
        yield fragile_servers.get(broker_name)
        return
    with KafkaServer(data_dir=tmp_path / "data", auto_create_topics=False) as server:
        yield server
