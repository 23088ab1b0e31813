from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.support.servables.core import HeardCore
from tests.support.servables.table import TABLE, write_table
from topicserve.servables.core.errors import NotFoundError
from topicserve.servables.core.servable_state import ManagerState
from topicserve.servables.server.servable_config import (
    ServableConfig,
    VersionPolicy,
    VersionPolicyKind,
)
from topicserve.servables.server.server_core import ServerCore
from topicserve.worker.replay.service import wait_available


@contextmanager
def a_core(base_path: Path, version: int) -> Iterator[HeardCore]:
    """Run a core that is to serve that one version of a table."""
    policy = VersionPolicy(VersionPolicyKind.SPECIFIC, versions=(version,))
    config = ServableConfig(TABLE, str(base_path), "hashmap", policy)
    with closing(HeardCore(ServerCore([config], max_num_load_retries=0))) as heard:
        heard.start()
        yield heard


@pytest.fixture
def base_path(tmp_path: Path) -> Path:
    """Write version 1."""
    write_table(tmp_path / TABLE, 1)
    return tmp_path / TABLE


def test_a_version_is_waited_for_until_it_is_loaded(base_path: Path) -> None:
    """No record is read before."""
    with a_core(base_path, 1) as heard:
        wait_available(heard.core, TABLE, 1, 30.0)

        assert heard.core.default_version(TABLE) == 1


def test_a_version_that_is_not_there_is_refused(base_path: Path) -> None:
    """Once it has had its time."""
    with a_core(base_path, 9) as heard, pytest.raises(NotFoundError, match="version 9: "):
        wait_available(heard.core, TABLE, 9, 0.0)


def test_a_version_that_does_not_load_is_refused_with_its_reason(base_path: Path) -> None:
    """Not waited for without an end."""
    write_table(base_path, 2, "no table")

    with a_core(base_path, 2) as heard:
        heard.wait_for(TABLE, 2, ManagerState.END)
        with pytest.raises(NotFoundError, match="version 2: version 2: "):
            wait_available(heard.core, TABLE, 2, 0.0)
