from collections.abc import Callable, Iterator

import pytest

from tests.support.servables.lifecycle import Threads


@pytest.fixture(params=["by hand", "on threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[Threads]:
    """Where a manager loads and unloads: each test runs both by hand and on real threads."""
    made = Threads(request.param)
    yield made
    made.close()


@pytest.fixture
def real_threads() -> Iterator[Threads]:
    """Four threads to load and four to unload, for tests that need them to be threads."""
    made = Threads("on threads")
    yield made
    made.close()


@pytest.fixture
def closing() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Take what is to be called when the test is over, whatever comes of it."""
    closers: list[Callable[[], object]] = []
    yield closers.append
    for close in reversed(closers):
        close()
