"""A server that fails as told, and its caller."""

import pytest

from tests.servables.kinds.remote.fake_server import Worker


@pytest.fixture
def worker() -> Worker:
    """Return one whose records share calls."""
    return Worker()
