"""TF Serving's tests of the aspired-versions manager: its steps are taken by hand."""

import threading

import pytest

from tests.support.servables.lifecycle import FakeLoader, Gate, Threads, a_version, aspire
from tests.support.servables.managers import A, B, Watched
from topicserve.servables.core.concurrency.retry import RetryPolicy
from topicserve.servables.core.errors import InvalidArgumentError, NotFoundError, UnknownError
from topicserve.servables.core.loader import Loader
from topicserve.servables.core.managers.aspired_versions_manager import AspiredVersionsManager
from topicserve.servables.core.managers.loader_harness import HarnessState
from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.policies.aspired_version_policy import (
    AspiredServableStateSnapshot,
    ServableAction,
)
from topicserve.servables.core.policies.availability_preserving_policy import (
    availability_preserving_policy,
)
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_request import ServableRequest
from topicserve.servables.core.servable_state import ManagerState

S = ManagerState
BROKEN = UnknownError("broken")


class Aspired(Watched):
    """As TF Serving's tests have it: versions 0 and 1 of two streams are loaded, nothing pends."""

    def __init__(self, threads: Threads, **options: object) -> None:
        super().__init__(threads, RetryPolicy(max_retries=1, interval_seconds=0))
        self.asked: list[list[AspiredServableStateSnapshot]] = []
        self.manager = AspiredVersionsManager(self.options, self.policy, **options)  # type: ignore[arg-type]
        self.loaders: dict[ServableId, FakeLoader] = {}
        for name in (A, B):
            self.aspire(name, 0, 1)
        for _ in range(4):
            self.tick()

    def policy(self, versions: object) -> ServableAction | None:
        self.asked.append(list(versions))  # type: ignore[call-overload]
        return availability_preserving_policy(versions)  # type: ignore[arg-type]

    def aspire(self, name: str, *versions: int, **loaders: FakeLoader) -> None:
        """Aspire versions with new loaders; `v7=loader` gives a version's."""
        new = {version: FakeLoader() for version in versions}
        new |= {int(key.removeprefix("v")): loader for key, loader in loaders.items()}
        for version, loader in new.items():
            self.loaders.setdefault(ServableId(name, version), loader)
        self.say(name, aspire(name, new))

    def say(self, name: str, versions: list[ServableData[Loader]]) -> None:
        self.manager.get_aspired_versions_callback()(name, versions)

    def handle_pending(self) -> None:
        self.manager.handle_pending_aspired_versions_requests()

    def tick(self) -> bool:
        """One tick of TF Serving's control thread, and what it set off."""
        acted = self.manager.step_once()
        self.threads.settle()
        return acted

    def is_found(self, name: str, version: int | None = None) -> bool:
        try:
            self.manager.get_servable_handle(ServableRequest(name, version)).close()
        except NotFoundError:
            return False
        return True

    def latest(self, name: str) -> tuple[object, int]:
        with self.manager.get_servable_handle(ServableRequest.latest(name)) as handle:
            return handle.servable, handle.id.version


@pytest.fixture
def avm(threads: Threads) -> Aspired:
    """Return a manager with versions 0 and 1 of two streams loaded."""
    return Aspired(threads)


def test_an_unknown_stream_is_not_found(avm: Aspired) -> None:
    """At once."""
    with pytest.raises(NotFoundError, match="unknown"):
        avm.manager.get_servable_handle(ServableRequest.latest("unknown"))


def test_a_missing_version_is_not_found(avm: Aspired) -> None:
    """Whatever others there are."""
    with pytest.raises(NotFoundError, match="version 100"):
        avm.manager.get_servable_handle(ServableRequest.specific(A, 100))


def test_a_servable_of_another_type_is_refused(avm: Aspired) -> None:
    """InvalidArgument."""
    with pytest.raises(InvalidArgumentError):
        avm.manager.get_servable_handle(ServableRequest.latest(A), str)


def test_the_newly_aspired_version_becomes_latest(avm: Aspired) -> None:
    """Some ticks after it was aspired alone."""
    avm.aspire(A, 3)

    for _ in range(3):
        avm.tick()

    assert avm.state(A, 3) is S.AVAILABLE
    assert avm.latest(A) == (3, 3)


def test_version_0_can_be_the_latest(avm: Aspired) -> None:
    """It is a version like any other."""
    avm.aspire("zero", v0=FakeLoader("nothing"))
    avm.tick()

    assert avm.latest("zero") == ("nothing", 0)


@pytest.mark.parametrize("reload_servables_with_error", [False, True])
def test_an_errored_version_comes_back_only_where_that_is_asked_for(
    threads: Threads, reload_servables_with_error: bool
) -> None:
    """Said again with a good loader, it is loaded with the option, and stays ended without."""
    avm = Aspired(threads, reload_servables_with_error=reload_servables_with_error)
    avm.aspire("s", 1)
    avm.tick()
    avm.say("s", [a_version("s", 1), a_version("s", 2, BROKEN)])
    avm.tick()
    assert avm.state("s", 2) is S.END

    avm.say("s", [a_version("s", 1), a_version("s", 2)])
    avm.tick()
    avm.tick()

    assert avm.is_found("s", 2) is reload_servables_with_error


def test_a_specific_version_is_found_by_its_id(avm: Aspired) -> None:
    """Version 0."""
    with avm.manager.get_servable_handle(ServableRequest.specific(A, 0)) as handle:
        assert handle.id == ServableId(A, 0)


def test_the_list_of_what_is_available_follows_what_is_aspired(avm: Aspired) -> None:
    """A version that fails adds nothing, and an empty list takes its stream out."""
    everything = [ServableId(name, version) for name in (A, B) for version in (0, 1)]
    assert avm.manager.list_available_servable_ids() == everything
    avm.aspire(A, v7=FakeLoader(errors=[BROKEN] * 2))
    avm.tick()
    avm.say(A, [])

    for _ in range(4):
        avm.tick()

    assert avm.manager.list_available_servable_ids() == everything[2:]


def test_handles_on_all_that_is_available_follow_it_too(avm: Aspired) -> None:
    """Each with its value."""
    avm.say(A, [])
    for _ in range(3):
        avm.tick()

    handles = avm.manager.get_available_servable_handles(object)

    assert [servable_id.version for servable_id in handles] == [0, 1]
    for handle in handles.values():
        handle.close()
    assert avm.manager.get_available_servable_handles(str) == {}


def test_an_empty_list_takes_everything_out(avm: Aspired) -> None:
    """Two ticks unload both versions, and the next one lets them go."""
    avm.say(A, [])

    avm.tick()
    avm.tick()
    avm.manager.flush_servables()

    assert [avm.loaders[ServableId(A, version)].unload_calls for version in (0, 1)] == [1, 1]
    assert not avm.is_found(A)
    assert avm.is_found(B)


def test_a_shorter_list_takes_the_rest_out(avm: Aspired) -> None:
    """What stays in it goes on serving."""
    avm.aspire(A, 0)

    avm.tick()

    assert not avm.is_found(A, 1)
    assert avm.is_found(A, 0)
    assert avm.loaders[ServableId(A, 0)].unload_calls == 0


def test_an_older_version_can_be_gone_back_to(avm: Aspired) -> None:
    """It is loaded, and the newer one goes."""
    avm.aspire("s", 1)
    avm.tick()
    avm.aspire("s", 0)

    for _ in range(3):
        avm.tick()

    assert avm.is_found("s", 0)
    assert not avm.is_found("s", 1)


def test_a_version_is_found_only_when_it_is_loaded(avm: Aspired) -> None:
    """Not yet when it has been accepted."""
    avm.aspire("s", 7)
    avm.handle_pending()
    found_before = avm.is_found("s", 7)

    avm.manager.invoke_policy_and_execute_action()
    avm.threads.settle()

    assert not found_before
    assert avm.is_found("s", 7)


def test_a_version_is_not_found_any_more_when_it_is_unloaded(avm: Aspired) -> None:
    """Still there when it is aspired no more, gone a tick later."""
    avm.aspire(A, 0)
    avm.handle_pending()
    found_before = avm.is_found(A, 1)

    avm.tick()

    assert found_before
    assert not avm.is_found(A, 1)


def test_one_tick_unloads_before_the_next_one_loads(avm: Aspired) -> None:
    """Across streams: an unload makes room."""
    avm.aspire(A, 0)
    avm.aspire(B, 0, 1, 2)

    avm.tick()
    after_first = (avm.is_found(A, 1), avm.is_found(B, 2))
    avm.tick()

    assert after_first == (False, False)
    assert avm.is_found(B, 2)


def test_the_order_of_actions_can_be_replaced(threads: Threads) -> None:
    """With the second stream's actions first, the load comes before the unload."""
    avm = Aspired(threads, action_order=lambda action: 0 if action.id.name == B else 1)
    avm.aspire(A, 0)
    avm.aspire(B, 0, 1, 2)

    avm.tick()
    after_first = (avm.is_found(A, 1), avm.is_found(B, 2))
    avm.tick()

    assert after_first == (True, True)
    assert not avm.is_found(A, 1)


def test_a_version_that_comes_with_an_error_is_never_served(avm: Aspired) -> None:
    """Neither before nor after a tick; it ends as soon as it is accepted."""
    avm.say(A, [*aspire(A, {0: FakeLoader(), 1: FakeLoader()}), a_version(A, 3, BROKEN)])
    avm.handle_pending()
    ended = avm.monitor.state(ServableId(A, 3))
    assert ended is not None
    assert (ended.manager_state, ended.error) == (S.END, BROKEN)
    assert not avm.is_found(A, 3)

    avm.tick()

    assert not avm.is_found(A, 3)
    assert avm.states(A, 3) == [S.END]


def test_the_loader_is_unloaded_on_an_unloading_thread(real_threads: Threads) -> None:
    """Never on the one that closes the last handle."""
    avm = Aspired(real_threads)
    handle = avm.manager.get_servable_handle(ServableRequest.specific(A, 1))
    avm.aspire(A, 0)
    avm.tick()
    loader = avm.loaders[ServableId(A, 1)]
    assert loader.unload_calls == 0

    handle.close()
    real_threads.settle()

    assert loader.unload_calls == 1
    assert loader.unloaded_on is not threading.current_thread()


def test_a_failing_load_starts_and_ends(avm: Aspired) -> None:
    """Start when it is accepted, the end with its error after the load."""
    avm.aspire(A, 0, 1, v7=FakeLoader(errors=[BROKEN] * 2))
    avm.handle_pending()
    accepted = avm.state(A, 7)

    avm.tick()

    assert accepted is S.START
    state = avm.monitor.state(ServableId(A, 7))
    assert state is not None
    assert (state.manager_state, state.error) == (S.END, BROKEN)


def test_each_state_of_a_life_is_seen_while_it_lasts(real_threads: Threads) -> None:
    """Loading while the loader loads, unloading while it unloads."""
    avm, loading, unloading = Aspired(real_threads), Gate(), Gate()
    avm.aspire("s", v7=FakeLoader(on_load=loading, on_unload=unloading))
    avm.handle_pending()
    seen = [avm.state("s", 7)]

    avm.manager.step_once()
    loading.wait_until_entered()
    seen.append(avm.state("s", 7))
    loading.open()
    real_threads.settle()
    seen.append(avm.state("s", 7))
    avm.say("s", [])
    avm.manager.step_once()
    unloading.wait_until_entered()
    seen.append(avm.state("s", 7))
    unloading.open()
    real_threads.settle()
    seen.append(avm.state("s", 7))

    assert seen == [S.START, S.LOADING, S.AVAILABLE, S.UNLOADING, S.END]


def test_a_manager_needs_no_listener(threads: Threads) -> None:
    """The monitor may be gone, and versions are loaded all the same."""
    avm = Aspired(threads)
    avm.monitor.close()

    avm.aspire("s", 7)
    avm.tick()

    assert avm.is_found("s", 7)


def test_a_load_that_fails_once_succeeds_when_tried_again(avm: Aspired) -> None:
    """Available, without error."""
    avm.aspire("s", v1=FakeLoader(errors=[BROKEN]))
    avm.tick()

    state = avm.monitor.state(ServableId("s", 1))
    assert state is not None
    assert (state.manager_state, state.error) == (S.AVAILABLE, None)


def test_a_load_that_always_fails_ends_with_its_error(avm: Aspired) -> None:
    """After all its tries."""
    loader = FakeLoader(errors=[BROKEN] * 3)
    avm.aspire("s", v1=loader)
    avm.tick()

    state = avm.monitor.state(ServableId("s", 1))
    assert state is not None
    assert (state.manager_state, state.error) == (S.END, BROKEN)
    assert len(loader.load_calls) == 2


def test_a_broken_new_version_leaves_the_newest_old_one_serving(avm: Aspired) -> None:
    """Until a good one comes, which takes its place."""
    avm.aspire(A, v7=FakeLoader(errors=[BROKEN] * 2))
    for _ in range(4):
        avm.tick()
    assert [avm.is_found(A, version) for version in (0, 1, 7)] == [False, True, False]

    avm.aspire(A, 8)
    for _ in range(4):
        avm.tick()

    assert avm.latest(A) == (8, 8)
    assert not avm.is_found(A, 1)
    assert avm.loaders[ServableId(A, 1)].unload_calls == 1


def test_a_version_on_its_way_out_comes_back_with_its_new_loader(avm: Aspired) -> None:
    """When the old one is unloaded, which waits for a handle."""
    first, second = FakeLoader(), FakeLoader()
    avm.aspire("s", v7=first)
    avm.tick()
    handle = avm.manager.get_servable_handle(ServableRequest.latest("s"))
    avm.say("s", [])
    avm.tick()
    avm.aspire("s", v7=second)
    for _ in range(3):
        avm.tick()
    before = (first.unload_calls, len(second.load_calls))

    handle.close()
    avm.threads.settle()
    for _ in range(2):
        avm.tick()

    assert before == (0, 0)
    assert (first.unload_calls, second.is_loaded) == (1, True)


def test_a_broken_version_comes_back_with_its_new_loader(avm: Aspired) -> None:
    """When the broken one was let go."""
    second = FakeLoader()
    avm.aspire("s", v7=FakeLoader(errors=[BROKEN] * 2))
    avm.tick()
    avm.say("s", [])
    avm.handle_pending()
    avm.aspire("s", v7=second)
    avm.handle_pending()
    waits = not second.load_calls and not avm.manager.invoke_policy_and_execute_action()

    avm.manager.flush_servables()
    avm.tick()

    assert waits
    assert second.is_loaded


def test_a_version_that_was_never_loaded_comes_back_with_its_new_loader(avm: Aspired) -> None:
    """The first loader is dropped untouched."""
    first, second = FakeLoader(), FakeLoader()
    avm.aspire("s", v7=first)
    avm.handle_pending()
    avm.say("s", [])
    avm.handle_pending()
    avm.aspire("s", v7=second)
    avm.handle_pending()

    avm.manager.flush_servables()
    avm.tick()

    assert first.load_calls == []
    assert second.is_loaded


def test_the_policy_sees_every_version_of_the_stream(avm: Aspired) -> None:
    """Aspired or not, in whatever state."""
    avm.aspire(A, 1, v7=FakeLoader(errors=[BROKEN] * 2))
    avm.tick()
    avm.manager.invoke_policy_and_execute_action()
    avm.threads.settle()
    avm.asked.clear()

    avm.manager.invoke_policy_and_execute_action()

    (asked,) = [versions for versions in avm.asked if versions[0].id.name == A]
    assert [(one.id.version, one.state, one.is_aspired) for one in asked] == [
        (0, HarnessState.DISABLED, False),
        (1, HarnessState.READY, True),
        (7, HarnessState.ERROR, True),
    ]


def test_versions_of_another_stream_are_dropped(
    avm: Aspired, caplog: pytest.LogCaptureFixture
) -> None:
    """The whole call is, with an error in the log."""
    avm.say(A, [a_version(A, 0), a_version(B, 9)])

    assert not avm.tick()

    assert "they name others" in caplog.text
    assert avm.is_found(A, 1)


def test_a_version_said_twice_is_one_version(avm: Aspired) -> None:
    """And disturbs no other stream."""
    avm.say("s", [a_version("s", 1), a_version("s", 1)])
    avm.aspire("t", 1)

    avm.tick()
    avm.tick()

    assert avm.is_found("s", 1)
    assert avm.is_found("t", 1)


def test_the_last_of_several_calls_counts(avm: Aspired) -> None:
    """What was not acted on yet is replaced, its loaders untouched."""
    skipped = FakeLoader()
    avm.aspire("s", v1=skipped)
    avm.aspire("s", 2)

    avm.tick()
    avm.tick()

    assert skipped.load_calls == []
    assert avm.latest("s") == (2, 2)


def test_all_there_is_to_do_is_done_in_one_go(avm: Aspired) -> None:
    """However many streams wait: no stream's load waits for another's tick."""
    for number in range(50):
        avm.aspire(f"s{number}", 1)
    avm.aspire(A, 5)
    avm.say(B, [])

    avm.manager.step_all()
    begun = sum(avm.state(f"s{number}", 1) is not None for number in range(50))
    avm.threads.settle()

    assert begun == 50
    assert all(avm.is_found(f"s{number}", 1) for number in range(50))
    assert not avm.is_found(B)


def test_a_rollback_to_what_still_serves_costs_nothing(avm: Aspired) -> None:
    """A bad release, and back: the old version was to go, never went, and stays."""
    avm.aspire("s", 1)
    avm.tick()
    avm.aspire("s", v2=FakeLoader(errors=[BROKEN] * 2))
    for _ in range(3):
        avm.tick()
    assert avm.latest("s") == (1, 1)

    back = FakeLoader()
    avm.aspire("s", v1=back)
    for _ in range(3):
        avm.tick()
        assert avm.latest("s") == (1, 1)

    assert back.load_calls == []
    assert avm.loaders[ServableId("s", 1)].unload_calls == 0
    avm.aspire("s", 1, 3)
    for _ in range(3):
        avm.tick()
    assert avm.is_found("s", 1)
    assert avm.is_found("s", 3)


def test_what_serves_is_not_given_up_for_a_version_that_must_wait(avm: Aspired) -> None:
    """Back to a version that is still on its way out: the newer one serves until it is there."""
    avm.aspire("s", 1)
    avm.tick()
    handle = avm.manager.get_servable_handle(ServableRequest.latest("s"))
    avm.aspire("s", 2)
    for _ in range(3):
        avm.tick()
    assert avm.state("s", 1) is S.UNLOADING

    avm.aspire("s", 1)
    for _ in range(3):
        avm.tick()
        assert avm.latest("s") == (2, 2)
    handle.close()
    avm.threads.settle()
    for _ in range(4):
        avm.tick()
        assert avm.is_found("s")

    assert avm.latest("s") == (1, 1)
    assert not avm.is_found("s", 2)


def test_an_unaspired_version_in_the_queue_is_never_loaded(avm: Aspired) -> None:
    """And is let go at once."""
    loader = FakeLoader()
    avm.aspire("s", v1=loader)
    avm.manager.step_once()
    avm.say("s", [])
    avm.handle_pending()
    if len(avm.threads.load):
        avm.threads.settle()
        assert loader.load_calls == []
    avm.threads.settle()
    avm.manager.step_all()
    avm.threads.settle()
    avm.manager.flush_servables()

    assert not avm.is_found("s")
    assert not loader.is_loaded
