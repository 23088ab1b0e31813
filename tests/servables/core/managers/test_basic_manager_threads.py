"""Loads and unloads from many threads at once."""

import threading
from collections.abc import Callable
from functools import partial

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
from tests.support.servables.managers import A, TwoByTwo
from topicserve.servables.core.errors import FailedPreconditionError, NotFoundError
from topicserve.servables.core.managers.basic_manager import BasicManager, BasicManagerOptions
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_request import ServableRequest
from topicserve.servables.core.servable_state import ManagerState

S = ManagerState
MANY = range(20)


def at_once(work: list[Callable[[], None]]) -> None:
    """Run all on threads that begin together, and wait for them."""
    start = threading.Barrier(len(work))

    def begin(one: Callable[[], None]) -> None:
        start.wait(LIMIT_SECONDS)
        one()

    for thread in [run_in_thread(partial(begin, one)) for one in work]:
        thread.join(LIMIT_SECONDS)
        assert not thread.is_alive()


def test_many_loads_and_then_many_unloads_at_once(real_threads: Threads) -> None:
    """All succeed, the unloads in the reverse order."""
    manager = TwoByTwo(real_threads).manager
    ids = [ServableId("many", version) for version in MANY]
    loaded, unloaded = [Outcome() for _ in MANY], [Outcome() for _ in MANY]

    def manage_and_load(version: int) -> None:
        manager.manage(a_version("many", version))
        manager.load(ids[version], loaded[version])

    at_once([partial(manage_and_load, version) for version in MANY])
    assert [outcome.wait() for outcome in loaded] == [None] * len(MANY)
    at_once(
        [partial(manager.unload, ids[version], unloaded[version]) for version in reversed(MANY)]
    )

    assert [outcome.wait() for outcome in unloaded] == [None] * len(MANY)
    assert not [one for one in manager.list_available_servable_ids() if one.name == "many"]


def test_interleaved_loads_and_unloads_all_succeed(real_threads: Threads) -> None:
    """Each version is managed, loaded and unloaded by a thread of its own."""
    manager = TwoByTwo(real_threads).manager
    errors: list[object] = []

    def live(version: int) -> None:
        servable_id, loaded, unloaded = ServableId("many", version), Outcome(), Outcome()
        manager.manage(a_version("many", version))
        manager.load(servable_id, loaded)
        errors.append(loaded.wait())
        manager.unload(servable_id, unloaded)
        errors.append(unloaded.wait())

    at_once([partial(live, version) for version in MANY])

    assert errors == [None] * 2 * len(MANY)


def test_events_of_a_version_come_in_the_order_of_its_life(real_threads: Threads) -> None:
    """Whichever threads load and unload it, and however many others do the same."""
    two = TwoByTwo(real_threads)

    def live(version: int) -> None:
        loaded, unloaded = Outcome(), Outcome()
        two.manager.manage(a_version("many", version))
        two.manager.load(ServableId("many", version), loaded)
        while not unloaded.is_ended:  # asked for as early as can be: while it becomes available
            two.manager.unload(ServableId("many", version), unloaded)
            if isinstance(unloaded.error, FailedPreconditionError):
                unloaded = Outcome()
            else:
                unloaded.wait()

    at_once([partial(live, version) for version in MANY])
    real_threads.settle()

    life = [S.START, S.LOADING, S.AVAILABLE, S.UNLOADING, S.END]
    assert [two.states("many", version) for version in MANY] == [life] * len(MANY)


def test_of_several_loads_at_once_one_succeeds(real_threads: Threads) -> None:
    """The others are duplicates."""
    manager = TwoByTwo(real_threads).manager
    manager.manage(a_version("one", 1))
    outcomes = [Outcome() for _ in range(4)]

    at_once([partial(manager.load, ServableId("one", 1), outcome) for outcome in outcomes])

    errors = [outcome.wait() for outcome in outcomes]
    assert errors.count(None) == 1
    refused = [error for error in errors if error is not None]
    assert all(isinstance(error, FailedPreconditionError) for error in refused)
    assert all("Duplicate load request" in str(error) for error in refused)


def test_of_several_unloads_at_once_one_succeeds(real_threads: Threads) -> None:
    """The others come too late."""
    two = TwoByTwo(real_threads)
    outcomes = [Outcome() for _ in range(4)]

    at_once([partial(two.manager.unload, ServableId(A, 1), outcome) for outcome in outcomes])

    errors = [outcome.wait() for outcome in outcomes]
    assert errors.count(None) == 1
    assert all(
        isinstance(error, FailedPreconditionError | NotFoundError) for error in errors if error
    )
    assert two.loaders[ServableId(A, 1)].unload_calls == 1


def test_the_number_of_load_threads_can_change(
    closing: Callable[[Callable[[], object]], None],
) -> None:
    """With one a second load waits for the first; with more it does not."""
    manager = BasicManager(BasicManagerOptions(num_load_threads=1, release_memory=lambda: None))
    closing(lambda: manager.close(LIMIT_SECONDS))
    gates = [Gate() for _ in range(3)]
    outcomes = [Outcome() for _ in range(3)]
    for stream, (gate, outcome) in enumerate(zip(gates, outcomes, strict=True)):
        manager.manage(a_version(f"s{stream}", 1, FakeLoader(on_load=gate)))
        manager.load(ServableId(f"s{stream}", 1), outcome)
    gates[0].wait_until_entered()
    others_had_to_wait = not gates[1].is_entered and not gates[2].is_entered

    manager.set_num_load_threads(3)
    for gate in gates:
        gate.wait_until_entered()
    for gate in gates:
        gate.open()

    assert others_had_to_wait
    assert [outcome.wait() for outcome in outcomes] == [None, None, None]


def test_fewer_load_threads_never_overlap(
    closing: Callable[[Callable[[], object]], None],
) -> None:
    """Loads on one thread come one after another, also while the number is set again."""
    manager = BasicManager(BasicManagerOptions(num_load_threads=1, release_memory=lambda: None))
    closing(lambda: manager.close(LIMIT_SECONDS))
    running, overlaps = threading.Lock(), []

    def alone() -> None:
        if not running.acquire(blocking=False):
            overlaps.append("two loads at once")
            return
        manager.set_num_load_threads(1)
        running.release()

    outcomes = [Outcome() for _ in MANY]
    for version, outcome in zip(MANY, outcomes, strict=True):
        manager.manage(a_version(f"s{version % 3}", version, FakeLoader(on_load=alone)))
        manager.load(ServableId(f"s{version % 3}", version), outcome)

    assert [outcome.wait() for outcome in outcomes] == [None] * len(MANY)
    assert overlaps == []


def test_many_threads_load_fast_and_few_go_on(
    closing: Callable[[Callable[[], object]], None],
) -> None:
    """With as many threads as versions all load at once; set back, all the same can be unloaded."""
    manager = BasicManager(BasicManagerOptions(num_load_threads=1, release_memory=lambda: None))
    closing(lambda: manager.close(LIMIT_SECONDS))
    manager.set_num_load_threads(32)
    together = threading.Barrier(len(MANY))
    loaded, unloaded = [Outcome() for _ in MANY], [Outcome() for _ in MANY]
    for version, outcome in zip(MANY, loaded, strict=True):
        loader = FakeLoader(on_load=partial(together.wait, LIMIT_SECONDS))
        manager.manage(a_version("many", version, loader))
        manager.load(ServableId("many", version), outcome)
    errors = [outcome.wait() for outcome in loaded]
    manager.set_num_load_threads(1)

    for version, outcome in zip(MANY, unloaded, strict=True):
        manager.unload(ServableId("many", version), outcome)

    assert errors == [None] * len(MANY)
    assert [outcome.wait() for outcome in unloaded] == [None] * len(MANY)


def test_lookups_never_fail_while_versions_are_swapped(real_threads: Threads) -> None:
    """There is a latest version at every moment, and it is loaded while its handle is open."""
    two = TwoByTwo(real_threads)
    stop, wrong, lookups = threading.Event(), [], []

    def look_up() -> None:
        count = 0
        while not stop.is_set():
            with two.manager.get_servable_handle(ServableRequest.latest(A)) as handle:
                if handle.servable != handle.id.version:
                    wrong.append(handle.id)
            count += 1
        lookups.append(count)

    readers = [run_in_thread(look_up) for _ in range(2)]
    for version in range(3, 60):
        two.manager.manage(a_version(A, version))
        assert load(two.manager, real_threads, ServableId(A, version)) is None
        assert unload(two.manager, real_threads, ServableId(A, version - 1)) is None
    stop.set()
    for reader in readers:
        reader.join(LIMIT_SECONDS)

    assert wrong == []
    assert len(lookups) == 2
