from collections.abc import Callable

import pytest

from tests.support.servables.lifecycle import LIMIT_SECONDS, FakeLoader, Threads, a_version
from tests.support.servables.managers import Watched
from tests.support.servables.streams import Saying, a_path
from topicserve.servables.core.errors import FailedPreconditionError
from topicserve.servables.core.loader import Loader
from topicserve.servables.core.managers.aspired_versions_manager import AspiredVersionsManager
from topicserve.servables.core.managers.aspired_versions_manager_builder import (
    AspiredVersionsManagerBuilder,
)
from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.servable_request import ServableRequest
from topicserve.servables.core.servable_state import ManagerState
from topicserve.servables.core.simple_loader import SimpleLoaderSourceAdapter
from topicserve.servables.core.source_adapter import UnarySourceAdapter
from topicserve.servables.core.storage_path import StoragePath

LATEST = ServableRequest.latest("s")


class Appending(UnarySourceAdapter[StoragePath, StoragePath]):
    """Appends its name to paths, and notes when it is detached."""

    def __init__(self, name: str, detached: list[str]) -> None:
        super().__init__()
        self._name = name
        self._detached = detached

    def convert(self, data: ServableData[StoragePath]) -> StoragePath:
        return StoragePath(f"{data.payload}/{self._name}")

    def detach(self) -> None:
        self._detached.append(self._name)
        super().detach()


@pytest.fixture
def watched(real_threads: Threads) -> Watched:
    """Return options for a manager, and a monitor."""
    return Watched(real_threads)


def test_a_source_of_loaders_is_connected(
    watched: Watched, closing: Callable[[Callable[[], object]], None]
) -> None:
    """What it says becomes available, once the whole is started."""
    source = Saying[Loader]()
    builder = AspiredVersionsManagerBuilder(AspiredVersionsManager(watched.options))
    builder.add_source(source)
    chain = builder.build()
    closing(lambda: chain.close(LIMIT_SECONDS))
    chain.start()

    source.say("s", [a_version("s", 1, FakeLoader("servable"))])

    is_available, _ = watched.monitor.wait_until_servables_reach_state(
        [LATEST], ManagerState.AVAILABLE, LIMIT_SECONDS
    )
    assert is_available
    with chain.manager.get_servable_handle(LATEST) as handle:
        assert handle.servable == "servable"


def test_a_chain_of_adapters_is_connected_in_order(
    watched: Watched, closing: Callable[[Callable[[], object]], None]
) -> None:
    """The last one makes the loader; the servable shows the way that its path went."""
    source, detached = Saying[StoragePath](), list[str]()
    builder = AspiredVersionsManagerBuilder(AspiredVersionsManager(watched.options))
    builder.add_source_chain(
        source,
        *(Appending(f"adapter{number}", detached) for number in range(3)),
        SimpleLoaderSourceAdapter(str),
    )
    chain = builder.build()
    closing(lambda: chain.close(LIMIT_SECONDS))

    source.say("s", [a_path("s", 1, "/base")])
    chain.manager.step_all()
    watched.threads.settle()

    with chain.manager.get_servable_handle(LATEST) as handle:
        assert handle.servable == "/base/adapter0/adapter1/adapter2"


def test_closing_detaches_upstream_first(watched: Watched) -> None:
    """And then unloads; what the source still says goes nowhere."""
    source, detached = Saying[StoragePath](), list[str]()
    builder = AspiredVersionsManagerBuilder(AspiredVersionsManager(watched.options))
    builder.add_source_chain(
        source,
        *(Appending(f"adapter{number}", detached) for number in range(3)),
        SimpleLoaderSourceAdapter(str),
    )
    chain = builder.build()
    source.say("s", [a_path("s", 1, "/base")])
    chain.manager.step_all()
    watched.threads.settle()

    assert chain.close(LIMIT_SECONDS)
    source.say("s", [a_path("s", 2, "/late")])

    assert detached == ["adapter0", "adapter1", "adapter2"]
    assert watched.state("s", 1) is ManagerState.END
    assert chain.manager.list_available_servable_ids() == []


def test_a_builder_builds_once(watched: Watched) -> None:
    """There is one manager."""
    builder = AspiredVersionsManagerBuilder(AspiredVersionsManager(watched.options))
    builder.build()

    with pytest.raises(FailedPreconditionError, match="use a new one"):
        builder.build()
