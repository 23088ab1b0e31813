import os
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.servables.table import TABLE, write_table
from topicserve.servables.core.errors import NotFoundError
from topicserve.servables.server.servable_config import (
    ServableConfig,
    VersionPolicy,
    VersionPolicyKind,
)
from topicserve.servables.server.server_core import ServerCore
from topicserve.worker.replay.service import wait_available


class Core:
    """A core of a table, closed at the end."""

    def __init__(self, base_path: Path, version: int) -> None:
        policy = VersionPolicy(VersionPolicyKind.SPECIFIC, versions=(version,))
        self.core = ServerCore(
            [ServableConfig(TABLE, str(base_path), "hashmap", policy)], max_num_load_retries=0
        )
        self.core.start()

    def close(self) -> None:
        self.core.close(5.0)


@pytest.fixture
def base_path(tmp_path: Path) -> Path:
    """Write version 1, so old that it is complete."""
    write_table(tmp_path / TABLE, 1)
    os.utime(tmp_path / TABLE / "1", (0, 0))
    return tmp_path / TABLE


def test_a_version_is_waited_for_until_it_is_loaded(base_path: Path) -> None:
    """No record is read before."""
    with closing(Core(base_path, 1)) as opened:
        wait_available(opened.core, TABLE, 1, 30.0)

        assert opened.core.default_version(TABLE) == 1


def test_a_version_that_is_not_there_is_refused(base_path: Path) -> None:
    """Once it has had its time."""
    with closing(Core(base_path, 9)) as opened, pytest.raises(NotFoundError, match="version 9: "):
        wait_available(opened.core, TABLE, 9, 0.0)


def test_a_version_that_does_not_load_is_refused_with_its_reason(base_path: Path) -> None:
    """Not waited for without an end."""
    (base_path / "1" / "hashmap.csv").write_text("no table")

    with (
        closing(Core(base_path, 1)) as opened,
        pytest.raises(NotFoundError, match="version 1: version 1: "),
    ):
        wait_available(opened.core, TABLE, 1, 1.0)
