import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from tests.support.servables.lifecycle import LIMIT_SECONDS, FakeLoader, Gate, run_in_thread
from topicserve.servables.core.concurrency.event_bus import EventBus
from topicserve.servables.core.concurrency.retry import RetryPolicy
from topicserve.servables.core.errors import (
    DeadlineExceededError,
    FailedPreconditionError,
    InvalidArgumentError,
    UnknownError,
)
from topicserve.servables.core.loader import Loader
from topicserve.servables.core.managers.basic_manager import BasicManagerOptions
from topicserve.servables.core.managers.caching_manager import (
    CachingManager,
    PathPrefixLoaderFactory,
)
from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_request import ServableRequest
from topicserve.servables.core.servable_state import ManagerState, ServableState
from topicserve.servables.core.servable_state_monitor import ServableStateMonitor
from topicserve.servables.core.simple_loader import SimpleLoaderSourceAdapter

BROKEN = UnknownError("error loader-factory")
S = ManagerState


class Factory:
    """Makes loaders of strings "name-version"; versions 0 (earliest) to 42 (latest)."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.loaders: dict[ServableId, list[FakeLoader]] = {}
        self.on_load: Callable[[], None] = lambda: None
        self.refuse: UnknownError | None = None

    def create_loader(self, servable_id: ServableId) -> ServableData[Loader]:
        if self.refuse is not None:
            return ServableData.failed(servable_id, self.refuse)
        errors, self.errors = self.errors, []
        loader = FakeLoader(
            f"{servable_id.name}-{servable_id.version}", errors, on_load=lambda: self.on_load()
        )
        self.loaders.setdefault(servable_id, []).append(loader)
        return ServableData(servable_id, loader)

    def servable_version(self, request: ServableRequest) -> int:
        return 0 if request.earliest_version else 42


class Caching:
    """A caching manager, watched."""

    def __init__(self, max_servables: int | None = None) -> None:
        self.factory = Factory()
        self.bus: EventBus[ServableState] = EventBus()
        self.monitor = ServableStateMonitor(self.bus)
        options = BasicManagerOptions(
            num_load_threads=4,
            num_unload_threads=4,
            retry=RetryPolicy(max_retries=0),
            event_bus=self.bus,
            release_memory=lambda: None,
        )
        self.manager = CachingManager(
            self.factory, options, max_servables=max_servables, timeout_seconds=LIMIT_SECONDS
        )

    def get(self, request: ServableRequest) -> str:
        with self.manager.get_servable_handle(request, str) as handle:
            return handle.servable

    def state(self, name: str, version: int) -> ManagerState | None:
        state = self.monitor.state(ServableId(name, version))
        return None if state is None else state.manager_state


@pytest.fixture
def caching() -> Iterator[Caching]:
    """Return a caching manager with nothing loaded."""
    made = Caching()
    yield made
    assert made.manager.close(LIMIT_SECONDS)


specific, latest, earliest = (
    ServableRequest.specific,
    ServableRequest.latest,
    ServableRequest.earliest,
)


def test_the_first_lookup_loads(caching: Caching) -> None:
    """And finds."""
    assert caching.get(specific("a", 30)) == "a-30"


def test_versions_of_a_name_load_each_for_itself(caching: Caching) -> None:
    """As they are asked for."""
    assert caching.get(specific("a", 30)) == "a-30"
    assert caching.get(specific("a", 31)) == "a-31"


def test_earliest_is_what_the_factory_says(caching: Caching) -> None:
    """And is loaded."""
    assert caching.get(earliest("a")) == "a-0"


def test_latest_is_what_the_factory_says(caching: Caching) -> None:
    """And is loaded."""
    assert caching.get(latest("a")) == "a-42"


def test_earliest_may_be_loaded_already(caching: Caching) -> None:
    """Then no second loader is made."""
    caching.get(specific("a", 0))

    assert caching.get(earliest("a")) == "a-0"
    assert len(caching.factory.loaders[ServableId("a", 0)]) == 1


def test_latest_may_be_loaded_already(caching: Caching) -> None:
    """Then no second loader is made; what happens to be loaded higher does not matter."""
    caching.get(specific("a", 42))
    caching.get(specific("a", 50))

    assert caching.get(latest("a")) == "a-42"
    assert len(caching.factory.loaders[ServableId("a", 42)]) == 1


def test_a_servable_of_another_type_is_refused(caching: Caching) -> None:
    """After it was loaded."""
    with pytest.raises(InvalidArgumentError):
        caching.manager.get_servable_handle(specific("a", 30), int)


def test_a_lookup_raises_what_the_load_does(caching: Caching) -> None:
    """Also where the factory makes no loader."""
    caching.factory.errors = [BROKEN]
    with pytest.raises(UnknownError, match="error loader-factory"):
        caching.get(specific("a", 30))
    caching.factory.refuse = UnknownError("no such servable")
    with pytest.raises(UnknownError, match="no such servable"):
        caching.get(specific("b", 30))


def test_a_load_that_failed_is_tried_anew_by_the_next_lookup(caching: Caching) -> None:
    """A full disk is no reason to fail for ever."""
    caching.factory.errors = [BROKEN]
    with pytest.raises(UnknownError):
        caching.get(specific("a", 30))

    assert caching.get(specific("a", 30)) == "a-30"
    assert caching.manager._loads == {}


def test_nothing_is_available_before_it_was_asked_for(caching: Caching) -> None:
    """Of whatever type."""
    assert caching.manager.get_available_servable_handles(str) == {}


def test_what_was_asked_for_is_available(caching: Caching) -> None:
    """All of it, of its type."""
    for request in (specific("a", 30), specific("a", 31), latest("b")):
        caching.get(request)
    expected = [ServableId("a", 30), ServableId("a", 31), ServableId("b", 42)]

    handles = caching.manager.get_available_servable_handles(str)

    assert list(handles) == expected
    assert caching.manager.list_available_servable_ids() == expected
    assert caching.manager.get_available_servable_handles(int) == {}
    for handle in handles.values():
        handle.close()


def test_what_failed_is_not_available(caching: Caching) -> None:
    """Nor listed."""
    caching.factory.errors = [BROKEN]
    with pytest.raises(UnknownError):
        caching.get(specific("a", 30))

    assert caching.manager.list_available_servable_ids() == []
    assert caching.manager.get_available_servable_handles(str) == {}


def test_events_tell_of_a_good_load(caching: Caching) -> None:
    """Available."""
    caching.get(specific("a", 30))

    assert caching.state("a", 30) is S.AVAILABLE


def test_events_tell_of_a_bad_load(caching: Caching) -> None:
    """The end, with the loader's error."""
    caching.factory.errors = [BROKEN]
    with pytest.raises(UnknownError):
        caching.get(specific("a", 30))

    state = caching.monitor.state(ServableId("a", 30))
    assert state is not None
    assert (state.manager_state, state.error) == (S.END, BROKEN)


def lookups(caching: Caching, requests: list[ServableRequest]) -> list[str]:
    """Make all at once, each on a thread of its own, and return what they found."""
    start, results = threading.Barrier(len(requests)), [""] * len(requests)

    def look_up(index: int, request: ServableRequest) -> None:
        start.wait(LIMIT_SECONDS)
        results[index] = caching.get(request)

    threads = [
        run_in_thread(partial(look_up, index, request)) for index, request in enumerate(requests)
    ]
    for thread in threads:
        thread.join(LIMIT_SECONDS)
    return results


def test_lookups_of_different_versions_at_once(caching: Caching) -> None:
    """All succeed, and nothing is left of their loads but what they loaded."""
    results = lookups(caching, [specific("a", version) for version in range(4)])

    assert results == ["a-0", "a-1", "a-2", "a-3"]
    assert caching.manager._loads == {}


def test_lookups_of_the_same_versions_share_a_load(caching: Caching) -> None:
    """Eight lookups of two versions load two."""
    results = lookups(caching, [specific("a", index % 2) for index in range(8)])

    assert results == ["a-0", "a-1"] * 4
    assert [len(loaders) for loaders in caching.factory.loaders.values()] == [1, 1]
    assert caching.manager.list_available_servable_ids() == [ServableId("a", 0), ServableId("a", 1)]
    assert caching.manager._loads == {}


def test_several_handles_are_all_loaded_or_none_is_held(caching: Caching) -> None:
    """One that fails gives the others back."""
    handles = caching.manager.get_servable_handles([specific("a", 1), latest("b")])
    assert [handle.servable for handle in handles] == ["a-1", "b-42"]
    for handle in handles:
        handle.close()
    caching.factory.errors = [BROKEN]

    with pytest.raises(UnknownError):
        caching.manager.get_servable_handles([specific("a", 1), specific("c", 1)])


def test_a_lookup_waits_only_so_long() -> None:
    """Its load goes on, and a later lookup finds it."""
    caching, gate = Caching(), Gate()
    caching.factory.on_load = gate
    caching.manager._timeout_seconds = 0
    with pytest.raises(DeadlineExceededError, match="still being loaded"):
        caching.get(specific("a", 1))

    gate.open()
    caching.manager._timeout_seconds = LIMIT_SECONDS

    assert caching.get(specific("a", 1)) == "a-1"
    assert len(caching.factory.loaders[ServableId("a", 1)]) == 1
    assert caching.manager.close(LIMIT_SECONDS)


def test_what_was_used_longest_ago_makes_room() -> None:
    """When one more is loaded than may stay; it comes back when it is asked for."""
    caching = Caching(max_servables=2)
    for version in (1, 2, 1, 3):
        caching.get(specific("a", version))
    caching.monitor.wait_until_servables_reach_state([specific("a", 2)], S.END, LIMIT_SECONDS)
    assert caching.manager.list_available_servable_ids() == [ServableId("a", 1), ServableId("a", 3)]

    assert caching.get(specific("a", 2)) == "a-2"

    assert len(caching.factory.loaders[ServableId("a", 2)]) == 2
    assert caching.manager.close(LIMIT_SECONDS)


def test_what_is_held_is_not_unloaded_to_make_room() -> None:
    """It goes when its handle is closed."""
    caching = Caching(max_servables=1)
    held = caching.manager.get_servable_handle(specific("a", 1), str)

    assert caching.get(specific("a", 2)) == "a-2"

    assert held.servable == "a-1"
    assert caching.factory.loaders[ServableId("a", 1)][0].unload_calls == 0
    held.close()
    caching.monitor.wait_until_servables_reach_state([specific("a", 1)], S.END, LIMIT_SECONDS)
    assert caching.manager.close(LIMIT_SECONDS)


def test_the_prefix_factory_makes_version_0_of_a_path() -> None:
    """Which is the earliest and the latest."""
    factory = PathPrefixLoaderFactory(
        "/models", SimpleLoaderSourceAdapter(lambda path: f"at {path}")
    )

    data = factory.create_loader(ServableId("a", 0))

    data.payload.load_with_id(data.id)
    assert data.payload.servable == "at /models/a"
    assert factory.servable_version(earliest("a")) == factory.servable_version(latest("a")) == 0


def test_the_prefix_factory_has_no_other_version() -> None:
    """FailedPrecondition says so."""
    factory = PathPrefixLoaderFactory("/models", SimpleLoaderSourceAdapter(str))

    data = factory.create_loader(ServableId("a", 42))

    assert isinstance(data.error, FailedPreconditionError)
    assert "only version 0" in str(data.error)


def test_an_unknown_version_through_the_prefix_factory_is_the_callers_to_hear() -> None:
    """The lookup raises it."""
    manager = CachingManager(PathPrefixLoaderFactory("/m", SimpleLoaderSourceAdapter(str)))

    with pytest.raises(FailedPreconditionError, match="only version 0"):
        manager.get_servable_handle(specific("a", 1))

    assert manager.close(LIMIT_SECONDS)
