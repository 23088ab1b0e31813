"""A model y = x / 2 + 2 behind the Open Inference Protocol, loaded."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.open_inference.server import InferenceServer, halving, serving
from tests.support.servables.remote_kinds import LATEST, load_remote

Load = Callable[..., Any]


@pytest.fixture
def server() -> InferenceServer:
    """Return what is served."""
    return halving()


@pytest.fixture
def target(server: InferenceServer) -> Iterator[str]:
    """Yield where it is served."""
    with serving(server) as address:
        yield address


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    """Load models of a version file and options; they are closed with the test."""
    with ExitStack() as opened:
        numbers = iter(range(1_000))

        def loaded(target: str, content: Any = LATEST, **options: Any) -> Any:
            directory = tmp_path / str(next(numbers))
            remote = load_remote("open_inference", directory, content, target=target, **options)
            opened.callback(remote.close)
            return remote

        yield loaded
