"""Lookups, what is managed, and events. Concurrency and resources have files of their own."""

import threading
from collections.abc import Callable

import pytest

from tests.support.servables.lifecycle import (
    LIMIT_SECONDS,
    FakeLoader,
    Gate,
    Outcome,
    Threads,
    a_version,
    load,
    run_in_thread,
    unload,
)
from tests.support.servables.managers import A, B, TwoByTwo, Watched
from topicserve.servables.core.errors import (
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    UnknownError,
)
from topicserve.servables.core.managers.basic_manager import BasicManager
from topicserve.servables.core.managers.loader_harness import HarnessState
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_request import ServableRequest
from topicserve.servables.core.servable_state import ManagerState

S = ManagerState


@pytest.fixture
def two(threads: Threads) -> TwoByTwo:
    """Return a manager with versions 1 and 2 of two streams loaded."""
    return TwoByTwo(threads)


def found(manager: BasicManager, request: ServableRequest) -> tuple[object, ServableId]:
    """Return what a lookup finds."""
    with manager.get_servable_handle(request) as handle:
        return handle.servable, handle.id


def missing(manager: BasicManager, request: ServableRequest) -> bool:
    """Return whether a lookup finds nothing."""
    try:
        manager.get_servable_handle(request).close()
    except NotFoundError:
        return True
    return False


def state_of(manager: BasicManager, name: str, version: int) -> HarnessState:
    """Return where a version's harness is, as a policy sees it."""
    snapshot = manager.get_managed_servable_state_snapshot(ServableId(name, version))
    assert snapshot is not None
    return snapshot.state


def test_an_unknown_stream_is_not_found(two: TwoByTwo) -> None:
    """At once."""
    with pytest.raises(NotFoundError, match="unknown"):
        two.manager.get_servable_handle(ServableRequest.latest("unknown"))


def test_a_missing_version_is_not_found(two: TwoByTwo) -> None:
    """Whatever other versions there are."""
    with pytest.raises(NotFoundError, match="version 100"):
        two.manager.get_servable_handle(ServableRequest.specific(A, 100))


def test_earliest_is_the_lowest_loaded_version(two: TwoByTwo) -> None:
    """Version 1."""
    assert found(two.manager, ServableRequest.earliest(A)) == (1, ServableId(A, 1))


def test_latest_is_the_highest_loaded_version(two: TwoByTwo) -> None:
    """A version that is loaded later, too."""
    two.manager.manage(a_version(A, 3))
    assert load(two.manager, two.threads, ServableId(A, 3)) is None

    assert found(two.manager, ServableRequest.latest(A)) == (3, ServableId(A, 3))


def test_a_lower_version_loaded_later_does_not_become_latest(two: TwoByTwo) -> None:
    """Until the higher ones are gone; and version 0 is a version."""
    two.manager.manage(a_version(A, 0, FakeLoader("zero")))
    assert load(two.manager, two.threads, ServableId(A, 0)) is None
    assert found(two.manager, ServableRequest.latest(A)) == (2, ServableId(A, 2))

    for version in (1, 2):
        assert unload(two.manager, two.threads, ServableId(A, version)) is None

    assert found(two.manager, ServableRequest.latest(A)) == ("zero", ServableId(A, 0))


def test_a_specific_version_is_found_by_its_id(two: TwoByTwo) -> None:
    """Value and id."""
    request = ServableRequest.from_id(ServableId(B, 1))

    assert found(two.manager, request) == (1, ServableId(B, 1))


def test_a_version_that_is_managed_cannot_be_managed_again(two: TwoByTwo) -> None:
    """The first one stays, and keeps serving."""
    with pytest.raises(FailedPreconditionError, match="already being managed"):
        two.manager.manage(a_version(A, 1, FakeLoader("impostor")))

    assert found(two.manager, ServableRequest.specific(A, 1)) == (1, ServableId(A, 1))


def test_the_first_of_several_managed_loaders_serves(two: TwoByTwo) -> None:
    """Also when the others come before it is loaded."""
    two.manager.manage(a_version("s", 3, FakeLoader("first")))
    for _ in range(2):
        with pytest.raises(FailedPreconditionError):
            two.manager.manage(a_version("s", 3, FakeLoader("other")))

    assert load(two.manager, two.threads, ServableId("s", 3)) is None

    assert found(two.manager, ServableRequest.latest("s"))[0] == "first"


def test_an_unknown_version_cannot_be_let_go(two: TwoByTwo) -> None:
    """FailedPrecondition says so."""
    with pytest.raises(FailedPreconditionError, match="not managed"):
        two.manager.stop_managing(ServableId(A, 7))


def test_a_version_in_use_cannot_be_let_go(two: TwoByTwo) -> None:
    """It must be unloaded before."""
    with pytest.raises(FailedPreconditionError, match="it is ready"):
        two.manager.stop_managing(ServableId(A, 1))


def test_an_unloaded_version_can_be_let_go(two: TwoByTwo) -> None:
    """It is disabled, has ended without error, and then there is nothing of it."""
    servable_id = ServableId(A, 1)
    assert unload(two.manager, two.threads, servable_id) is None
    snapshot = two.manager.get_managed_servable_state_snapshot(servable_id)
    assert snapshot is not None
    assert snapshot.state is HarnessState.DISABLED
    state = two.monitor.state(servable_id)
    assert state is not None
    assert (state.manager_state, state.error) == (S.END, None)

    two.manager.stop_managing(servable_id)

    assert two.manager.get_managed_servable_state_snapshot(servable_id) is None


def test_a_version_that_failed_stays_managed(two: TwoByTwo) -> None:
    """In error, and its end says which."""
    servable_id, error = ServableId(A, 7), UnknownError("broken")
    two.manager.manage(a_version(A, 7, FakeLoader(errors=[error] * 11)))

    assert load(two.manager, two.threads, servable_id) is error

    snapshot = two.manager.get_managed_servable_state_snapshot(servable_id)
    assert snapshot is not None
    assert snapshot.state is HarnessState.ERROR
    state = two.monitor.state(servable_id)
    assert state is not None
    assert (state.manager_state, state.error) == (S.END, error)


def test_an_unloading_version_is_not_found_while_its_unload_runs(real_threads: Threads) -> None:
    """Latest is the next lower one by then."""
    two, gate = TwoByTwo(real_threads), Gate()
    two.manager.manage(a_version(A, 3, FakeLoader(on_unload=gate)))
    assert load(two.manager, real_threads, ServableId(A, 3)) is None

    outcome = Outcome()
    two.manager.unload(ServableId(A, 3), outcome)
    gate.wait_until_entered()
    now_found = found(two.manager, ServableRequest.latest(A))
    gate.open()

    assert now_found == (2, ServableId(A, 2))
    assert outcome.wait() is None


def test_the_list_of_what_is_available_follows_loads_and_unloads(two: TwoByTwo) -> None:
    """A load that fails adds nothing."""
    all_four = [ServableId(A, 1), ServableId(A, 2), ServableId(B, 1), ServableId(B, 2)]
    assert two.manager.list_available_servable_ids() == all_four
    two.manager.manage(a_version(A, 7, FakeLoader(errors=[UnknownError("broken")] * 11)))
    load(two.manager, two.threads, ServableId(A, 7))

    assert unload(two.manager, two.threads, ServableId(B, 1)) is None

    assert two.manager.list_available_servable_ids() == [*all_four[:2], all_four[3]]


def test_handles_on_all_that_is_available_follow_it_too(two: TwoByTwo) -> None:
    """Each with its value."""
    assert unload(two.manager, two.threads, ServableId(B, 1)) is None

    handles = two.manager.get_available_servable_handles(int)

    assert {servable_id: handle.servable for servable_id, handle in handles.items()} == {
        ServableId(A, 1): 1,
        ServableId(A, 2): 2,
        ServableId(B, 2): 2,
    }
    for handle in handles.values():
        handle.close()


def test_there_are_no_handles_of_another_type(two: TwoByTwo) -> None:
    """And a lookup by type says what is there instead."""
    assert two.manager.get_available_servable_handles(str) == {}
    with pytest.raises(InvalidArgumentError, match="is a int, not the str"):
        two.manager.get_servable_handle(ServableRequest.latest(A), str)


def test_managed_names_can_be_listed(two: TwoByTwo) -> None:
    """Both streams, without those that were let go."""
    two.manager.manage(a_version("third", 1))
    two.manager.stop_managing(ServableId("third", 1))

    assert two.manager.get_managed_servable_names() == [A, B]


def test_snapshots_show_a_streams_versions(two: TwoByTwo) -> None:
    """Both ready, with nothing kept beside them."""
    snapshots = two.manager.get_managed_servable_state_snapshots(A)

    assert [(one.id.version, one.state, one.additional_state) for one in snapshots] == [
        (1, HarnessState.READY, None),
        (2, HarnessState.READY, None),
    ]


def test_a_snapshot_shows_one_version(two: TwoByTwo) -> None:
    """None where it is not managed."""
    snapshot = two.manager.get_managed_servable_state_snapshot(ServableId(A, 1))

    assert snapshot is not None
    assert (snapshot.id, snapshot.state) == (ServableId(A, 1), HarnessState.READY)
    assert two.manager.get_managed_servable_state_snapshot(ServableId(A, 9)) is None


def test_a_manager_above_keeps_what_it_likes_with_a_version(two: TwoByTwo) -> None:
    """It comes back as its own type, can be replaced, and is None where nothing was kept."""
    two.manager.manage(a_version("kept", 0), 0)
    two.manager.manage(a_version("kept", 1), 1)
    two.manager.manage(a_version("kept", 2))
    two.manager.set_additional_state(ServableId("kept", 0), 10)

    snapshots = two.manager.get_managed_servable_state_snapshots("kept")

    assert [one.additional_state_as(int) for one in snapshots] == [10, 1, None]
    assert [one.additional_state_as(str) for one in snapshots] == [None, None, None]
    assert all(one.state is HarnessState.NEW for one in snapshots)


def test_a_version_that_comes_with_an_error_is_never_served(two: TwoByTwo) -> None:
    """A load answers its error."""
    servable_id, error = ServableId(A, 3), UnknownError("bad item")
    two.manager.manage(a_version(A, 3, error))
    assert missing(two.manager, ServableRequest.specific(A, 3))

    assert load(two.manager, two.threads, servable_id) is error

    assert missing(two.manager, ServableRequest.specific(A, 3))
    assert unload(two.manager, two.threads, servable_id) is error


def test_the_loader_is_unloaded_on_an_unloading_thread(real_threads: Threads) -> None:
    """Never on the one that closes the last handle."""
    two = TwoByTwo(real_threads)
    servable_id = ServableId(A, 2)
    handle = two.manager.get_servable_handle(ServableRequest.from_id(servable_id))
    outcome = Outcome()
    two.manager.unload(servable_id, outcome)
    real_threads.settle()
    assert not outcome.is_ended

    handle.close()

    assert outcome.wait() is None
    unloaded_on = two.loaders[servable_id].unloaded_on
    assert unloaded_on is not None
    assert unloaded_on is not threading.current_thread()
    assert unloaded_on.name == "unload"


def test_a_version_must_be_managed_before_it_is_loaded(two: TwoByTwo) -> None:
    """NotFound otherwise, through the callback."""
    error = load(two.manager, two.threads, ServableId(A, 3))

    assert isinstance(error, NotFoundError)
    assert "is not being managed" in str(error)


def test_a_version_is_loaded_once(two: TwoByTwo) -> None:
    """The second request is a duplicate."""
    error = load(two.manager, two.threads, ServableId(A, 1))

    assert isinstance(error, FailedPreconditionError)
    assert "Duplicate load request" in str(error)


def test_a_version_is_unloaded_once(two: TwoByTwo) -> None:
    """The second request comes too late."""
    assert unload(two.manager, two.threads, ServableId(A, 1)) is None

    error = unload(two.manager, two.threads, ServableId(A, 1))

    assert isinstance(error, FailedPreconditionError)
    assert "unload already requested/ongoing" in str(error)


def test_what_is_not_managed_cannot_be_unloaded(two: TwoByTwo) -> None:
    """NotFound."""
    error = unload(two.manager, two.threads, ServableId(A, 3))

    assert isinstance(error, NotFoundError)
    assert "is not being managed" in str(error)


def test_what_is_not_loaded_cannot_be_unloaded(two: TwoByTwo) -> None:
    """FailedPrecondition."""
    two.manager.manage(a_version(A, 3))

    error = unload(two.manager, two.threads, ServableId(A, 3))

    assert isinstance(error, FailedPreconditionError)
    assert "Servable not loaded" in str(error)


def test_a_version_that_comes_with_an_error_ends_at_once(threads: Threads) -> None:
    """Its only event is the end, with that error."""
    watched, error = Watched(threads), UnknownError("bad item")

    BasicManager(watched.options).manage(a_version(A, 3, error))

    (event,) = watched.monitor.log()
    assert (event.event.manager_state, event.event.error) == (S.END, error)


def test_a_failing_load_starts_loads_and_ends(two: TwoByTwo) -> None:
    """The end has the error and the number of tries."""
    error = UnknownError("broken")
    two.manager.manage(a_version(A, 7, FakeLoader(errors=[error] * 11)))
    assert two.state(A, 7) is S.START

    load(two.manager, two.threads, ServableId(A, 7))

    assert two.states(A, 7) == [S.START, S.LOADING, S.END]
    state = two.monitor.state(ServableId(A, 7))
    assert state is not None
    assert (state.error, state.attempts) == (error, 11)


def test_each_state_of_a_life_is_seen_while_it_lasts(real_threads: Threads) -> None:
    """Loading while the loader loads, unloading while it unloads."""
    two, loading, unloading = TwoByTwo(real_threads), Gate(), Gate()
    servable_id = ServableId(A, 7)
    two.manager.manage(a_version(A, 7, FakeLoader(on_load=loading, on_unload=unloading)))
    seen = [two.state(A, 7)]

    loaded, unloaded = Outcome(), Outcome()
    two.manager.load(servable_id, loaded)
    loading.wait_until_entered()
    seen.append(two.state(A, 7))
    loading.open()
    loaded.wait()
    seen.append(two.state(A, 7))
    two.manager.unload(servable_id, unloaded)
    unloading.wait_until_entered()
    seen.append(two.state(A, 7))
    unloading.open()
    unloaded.wait()
    seen.append(two.state(A, 7))

    assert seen == [S.START, S.LOADING, S.AVAILABLE, S.UNLOADING, S.END]


def test_events_say_how_long_loads_and_unloads_took(two: TwoByTwo) -> None:
    """By the injected clock: a load without its wait for a thread, an unload with its handles'."""
    servable_id = ServableId(A, 7)
    loader = FakeLoader(
        on_load=lambda: two.timer.advance(3), on_unload=lambda: two.timer.advance(2)
    )
    two.manager.manage(a_version(A, 7, loader))
    load(two.manager, two.threads, servable_id)
    available = two.monitor.state(servable_id)
    handle = two.manager.get_servable_handle(ServableRequest.from_id(servable_id))
    outcome = Outcome()
    two.manager.unload(servable_id, outcome)
    two.threads.settle()
    two.timer.advance(10)
    handle.close()
    two.threads.settle()
    outcome.wait()
    ended = two.monitor.state(servable_id)

    assert available is not None
    assert (available.seconds, available.attempts) == (3, 1)
    assert ended is not None
    assert ended.seconds == 12
    assert ended.generation == available.generation


def test_a_manager_without_options_works(closing: Callable[[Callable[[], object]], None]) -> None:
    """On threads of its own, with a bus that no one hears; closing it unloads."""
    manager, loader = BasicManager(), FakeLoader()
    closing(lambda: manager.close(LIMIT_SECONDS))
    manager.manage(a_version(A, 1, loader))
    outcome = Outcome()
    manager.load(ServableId(A, 1), outcome)
    assert outcome.wait() is None
    assert found(manager, ServableRequest.latest(A)) == (1, ServableId(A, 1))

    assert manager.close(LIMIT_SECONDS)

    assert loader.unload_calls == 1


def test_the_pre_load_hook_is_called_before_the_load(threads: Threads) -> None:
    """Once, with the id, also when the load is tried again."""
    order: list[object] = []
    loader = FakeLoader(errors=[UnknownError("again")], on_load=lambda: order.append("load"))
    watched = TwoByTwo(threads, pre_load_hook=order.append)
    order.clear()
    watched.manager.manage(a_version(A, 7, loader))

    outcome = Outcome()
    watched.manager.load(ServableId(A, 7), outcome)
    threads.settle()

    assert outcome.wait() is None
    assert order == [ServableId(A, 7), "load", "load"]


def test_an_unload_that_fails_ends_in_error(two: TwoByTwo) -> None:
    """It is reported, and the version is gone all the same."""

    def fail() -> None:
        raise OSError("busy")

    two.manager.manage(a_version(A, 7, FakeLoader(on_unload=fail)))
    load(two.manager, two.threads, ServableId(A, 7))

    error = unload(two.manager, two.threads, ServableId(A, 7))

    assert isinstance(error, InternalError)
    assert two.state(A, 7) is S.END
    assert missing(two.manager, ServableRequest.specific(A, 7))
    two.manager.stop_managing(ServableId(A, 7))


@pytest.mark.parametrize("is_failing", [False, True])
def test_an_unload_has_ended_once_its_memory_is_free(threads: Threads, is_failing: bool) -> None:
    """A policy that loads the next version when this one has gone would have both in memory."""

    def unload_loader() -> None:
        if is_failing:
            raise OSError("busy")

    seen: list[HarnessState] = []

    def look() -> None:
        seen.append(state_of(manager, A, 7))

    manager = BasicManager(Watched(threads).options_with(release_memory=look))
    manager.manage(a_version(A, 7, FakeLoader(on_unload=unload_loader)))
    load(manager, threads, ServableId(A, 7))

    unload(manager, threads, ServableId(A, 7))

    assert seen == [HarnessState.UNLOADING]
    assert state_of(manager, A, 7) is (HarnessState.ERROR if is_failing else HarnessState.DISABLED)


def test_closing_leaves_what_is_held(real_threads: Threads) -> None:
    """A servable is not unloaded under a handle, not even then; all others are."""
    two = TwoByTwo(real_threads)
    held = two.manager.get_servable_handle(ServableRequest.specific(A, 1))

    assert not two.manager.close(0)
    two.threads.settle()

    assert held.servable == 1
    assert [loader.unload_calls for loader in two.loaders.values()] == [0, 1, 1, 1]
    held.close()
    two.threads.settle()
    assert two.loaders[ServableId(A, 1)].unload_calls == 1
    assert two.states(A, 1)[-2:] == [S.UNLOADING, S.END]


def test_a_long_held_handle_delays_no_other_version(two: TwoByTwo) -> None:
    """However few threads there are: waiting for a handle takes none."""
    handles = [two.manager.get_servable_handle(ServableRequest.from_id(one)) for one in two.loaders]
    for servable_id in two.loaders:
        two.manager.unload(servable_id)
    two.threads.settle()
    two.manager.manage(a_version("other", 1))
    assert load(two.manager, two.threads, ServableId("other", 1)) is None

    assert unload(two.manager, two.threads, ServableId("other", 1)) is None

    assert all(not loader.unload_calls for loader in two.loaders.values())
    for handle in handles:
        run_in_thread(handle.close).join(LIMIT_SECONDS)
    two.threads.settle()
    assert all(loader.unload_calls == 1 for loader in two.loaders.values())


class Cancellable:
    """Notes that its calls are cancelled, and raises what it is told to."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.times = 0
        self._error = error

    def cancel_calls(self) -> None:
        self.times += 1
        if self._error is not None:
            raise self._error


def test_calls_are_cancelled_where_a_servable_can(threads: Threads) -> None:
    """Also where another one cannot, or fails to: what follows is the close."""
    manager = BasicManager(Watched(threads).options)
    able, failing = Cancellable(), Cancellable(SystemExit(3))
    for number, servable in enumerate((failing, able, "cannot"), start=1):
        manager.manage(a_version(A, number, FakeLoader(servable)))
        load(manager, threads, ServableId(A, number))
    manager.manage(a_version(A, 4, FakeLoader()))

    manager.cancel_calls()

    assert (failing.times, able.times) == (1, 1)
