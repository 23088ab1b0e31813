import gc
import logging
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support.stages.logged import Logged

# A deadline would be a wall-clock assertion, and machines are shared.
settings.register_profile("topicserve", deadline=None)
# For `make quick`, which asks for it; everything else has the usual number of examples.
settings.register_profile("quick", settings.get_profile("topicserve"), max_examples=10)
settings.load_profile("topicserve")


def pytest_collection_finish() -> None:
    """Leave what was imported and collected to no garbage collection: it stays for good.

    Many tests collect garbage to see that nothing leaks, and each of them would walk all of it.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def restored_loggers() -> Iterator[None]:
    """Give the process its loggers back: commands set them up for a process of their own."""
    root, ours = logging.getLogger(), logging.getLogger("topicserve")
    handlers, level, our_level = root.handlers, root.level, ours.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    ours.setLevel(our_level)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Logged:
    """Return what reads the fields of the worker's log events, of all levels."""
    caplog.set_level(logging.DEBUG, "topicserve")
    return lambda event: [
        record.__dict__["fields"] for record in caplog.records if record.msg == event
    ]
