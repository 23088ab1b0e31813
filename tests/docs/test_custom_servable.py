"""The kind that docs/custom_servable.md walks through works, from an entry point, as it stands."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.docs.installed import install, project_of
from tests.support.servables.kind_context import ServablesInMemory
from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.core.servable_request import ServableRequest
from topicserve.servables.kinds.registry import known_kinds, load_kind
from topicserve.servables.server.servable_config import ServableConfig
from topicserve.servables.server.server_core import ServerCore

CHECKOUT = Path(__file__).parents[2]
EXAMPLE = CHECKOUT / "examples/custom_servable"
PAGE = CHECKOUT / "docs/custom_servable.md"
PROJECT = project_of(EXAMPLE)
LIMIT_SECONDS = 60.0


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the package."""
    install(EXAMPLE, tmp_path / "site", monkeypatch)


@pytest.fixture
def base_path(tmp_path: Path) -> Path:
    """Return where version 1 of a servable of this kind lies."""
    version = tmp_path / "species" / "1"
    version.mkdir(parents=True)
    np.savez(version / "centroids.npz", points=[[0.0, 0.0], [3.0, 4.0]], names=["near", "far"])
    return version.parent


@pytest.mark.usefixtures("installed")
def test_kind_from_outside_is_served(base_path: Path) -> None:
    """Installed, it is known by its name, and a version of it predicts."""
    config = ServableConfig(
        "species", str(base_path), kind="centroids", options={"unknown_beyond": 2.0}
    )
    core = ServerCore([config], file_system_poll_wait_seconds=0.01)
    core.start()
    try:
        assert core.wait_until_available(LIMIT_SECONDS)
        with core.get_servable_handle(ServableRequest.latest("species")) as handle:
            rows = np.array([[0, 1], [3, 4], [100, 0]], np.float32)
            outputs = handle.servable.predict({"x": rows})
    finally:
        core.close(LIMIT_SECONDS)

    assert outputs["name"].tolist() == [b"near", b"far", b"unknown"]
    assert outputs["distance"][:2].tolist() == [1, 0]


@pytest.mark.usefixtures("installed")
def test_kind_is_listed_and_its_options_are_checked() -> None:
    """The error that the page shows is the one that there is."""
    assert "centroids" in known_kinds()
    error = (
        "options of the kind 'centroids': there is no `unknown_beyound`; known are: unknown_beyond"
    )

    with pytest.raises(InvalidArgumentError) as caught:
        load_kind("centroids")({"unknown_beyound": 1.0}, ServablesInMemory())

    assert str(caught.value) == error
    assert error in PAGE.read_text()


def test_page_shows_the_code_that_runs() -> None:
    """Code and entry point stand on the page as they are, in under 60 lines."""
    code = (EXAMPLE / "topicserve_centroids.py").read_text()
    (entry,) = PROJECT["entry-points"]["topicserve.servables"].items()

    assert f"```python\n{code}```" in PAGE.read_text()
    assert "{} = {!r}".format(*entry).replace("'", '"') in PAGE.read_text()
    assert len(code.splitlines()) < 60
