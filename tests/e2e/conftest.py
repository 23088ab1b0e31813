from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.kafka.apache_kafka import ApacheKafka
from tests.support.processes.deployment import Deployment, Tables
from tests.support.servables.models import Network, export_networks
from tests.support.servables.table import check_table_result, table_servable, write_table
from tests.support.traffic.accounts import Sent
from topicserve.embedded.redis_server import RedisServer
from topicserve.wire.result import Result

_figures: list[str] = []


@pytest.fixture(scope="session")
def kafka() -> Iterator[ApacheKafka]:
    """Share one Apache Kafka."""
    with ApacheKafka() as server:
        yield server


@pytest.fixture(scope="session")
def valkey() -> Iterator[RedisServer]:
    """Share one Valkey; anyone who stops one takes an own one."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a table's version 1 and give its base path."""
    base_path = tmp_path_factory.mktemp("models") / "table"
    write_table(base_path, 1)
    return base_path


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export versions 1 and 2 of a real SavedModel, Network(1) and Network(2), to copy from."""
    path = tmp_path_factory.mktemp("networks")
    export_networks(path, {version: Network(seed=version) for version in (1, 2)})
    return path


class Deploy:
    """Opens deployments on the session's servers; they end with the test."""

    def __init__(self, opened: ExitStack, kafka: str, redis: str, path: Path, table: Path) -> None:
        self._opened, self._kafka, self._redis = opened, kafka, redis
        self._path, self._table = path, table

    def __call__(
        self,
        tables: Tables | None = None,
        *,
        servables: Sequence[Mapping[str, Any]] = (),
        check: Callable[[Sent, Result], None] = check_table_result,
        redis_url: str = "",
    ) -> Deployment:
        deployment = Deployment(
            self._kafka,
            redis_url or self._redis,
            self._path,
            servables or [table_servable(self._table)],
            check,
            tables,
        )
        return self._opened.enter_context(deployment)


@pytest.fixture
def deploy(
    kafka: ApacheKafka, valkey: RedisServer, tmp_path: Path, table: Path
) -> Iterator[Deploy]:
    """Open deployments on the session's servers."""
    with ExitStack() as opened:
        yield Deploy(opened, kafka.bootstrap_servers, valkey.redis_url, tmp_path, table)


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Report what was measured; it is shown when all tests are done."""
    return lambda line: _figures.append(f"{request.node.name}: {line}")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Show what was measured."""
    if _figures:
        terminalreporter.section("measured end to end")
        for line in _figures:
            terminalreporter.line(line)
