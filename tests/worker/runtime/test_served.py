from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.servables.core import Core, a_config, put_version
from topicserve.servables.core.servable_request import ServableRequest
from topicserve.servables.core.servable_state import ManagerState
from topicserve.worker.runtime.served import ServedVersions


@pytest.fixture
def core(tmp_path: Path, request: Any) -> Iterator[Core]:
    """Serve version 2 alone, under the configuration that a test asks for."""
    put_version(tmp_path, 2)
    running = Core([a_config("table", tmp_path, **request.param)])
    running.start()
    running.wait_for("table", 2, ManagerState.AVAILABLE)
    yield running
    running.close()


@pytest.mark.parametrize(
    ("core", "missing"),
    [
        ({}, []),
        ({"default_version": 2}, []),
        ({"default_version": 1}, ["table"]),
        ({"reserved_versions": (2,)}, ["table"]),
        ({"version_labels": {"stable": 1}, "default_label": "stable"}, ["table"]),
    ],
    indirect=["core"],
)
def test_a_servable_is_missing_while_its_default_is(core: Core, missing: list[str]) -> None:
    """Another version does not make it ready; records that name none wait."""
    served = ServedVersions(core.core)

    assert served.unavailable() == missing
    assert served.may_become_available(ServableRequest.default("table"))
    assert not served.may_become_available(ServableRequest.specific("table", 7))
