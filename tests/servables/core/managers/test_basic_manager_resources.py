"""Loads for which there is room, and those for which there is none: ten units in all."""

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
    unload,
)
from tests.support.servables.managers import Watched
from topicserve.servables.core.concurrency.retry import RetryPolicy
from topicserve.servables.core.errors import (
    CancelledError,
    InvalidArgumentError,
    ResourceExhaustedError,
    UnavailableError,
)
from topicserve.servables.core.managers.basic_manager import BasicManager
from topicserve.servables.core.managers.loader_harness import HarnessState
from topicserve.servables.core.resources.admission import OnInsufficientResources
from topicserve.servables.core.resources.resource_allocation import MAIN, main_ram
from topicserve.servables.core.resources.resource_tracker import ResourceTracker
from topicserve.servables.core.resources.resource_util import ResourceUtil
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_state import ManagerState

S = ManagerState
OnInsufficient = OnInsufficientResources


class TenUnits(Watched):
    """A manager with ten bytes of main memory."""

    def __init__(
        self,
        threads: Threads,
        retry: RetryPolicy | None = None,
        on_insufficient: OnInsufficient = OnInsufficient.FAIL,
    ) -> None:
        super().__init__(threads, retry or RetryPolicy(max_retries=0))
        tracker = ResourceTracker(main_ram(10), ResourceUtil({MAIN: 1}))
        self.manager = BasicManager(
            self.options_with(resource_tracker=tracker, on_insufficient_resources=on_insufficient)
        )

    def manage(self, name: str, loader: FakeLoader) -> ServableId:
        self.manager.manage(a_version(name, 1, loader))
        return ServableId(name, 1)

    def load(self, name: str, loader: FakeLoader) -> Outcome:
        outcome = Outcome()
        self.manager.load(self.manage(name, loader), outcome)
        return outcome


def taking(units: int) -> FakeLoader:
    """Return a loader of so many bytes."""
    return FakeLoader(takes=main_ram(units))


def test_two_loads_that_fit_together_run_at_once(real_threads: Threads) -> None:
    """Each waits in its load for the other."""
    ten, together = TenUnits(real_threads), threading.Barrier(2)
    loaders = [
        FakeLoader(takes=main_ram(5), on_load=partial(together.wait, LIMIT_SECONDS))
        for _ in range(2)
    ]

    outcomes = [ten.load(f"half{number}", loader) for number, loader in enumerate(loaders)]

    assert [outcome.wait() for outcome in outcomes] == [None, None]


def test_a_load_without_room_is_denied(threads: Threads) -> None:
    """While nothing is on its way out: its end says what it takes and what is used."""
    ten = TenUnits(threads)
    assert load(ten.manager, threads, ten.manage("large", taking(10))) is None
    loader = taking(1)

    error = load(ten.manager, threads, ten.manage("small", loader))

    assert isinstance(error, ResourceExhaustedError)
    assert "Insufficient resources to load servable {name: small version: 1}" in str(error)
    assert loader.load_calls == []
    assert ten.states("small", 1) == [S.START, S.END]
    snapshot = ten.manager.get_managed_servable_state_snapshot(ServableId("small", 1))
    assert snapshot is not None
    assert snapshot.state is HarnessState.ERROR


def test_a_failed_load_gives_its_room_back(threads: Threads) -> None:
    """For the next one."""
    ten = TenUnits(threads)
    broken = FakeLoader(takes=main_ram(10), errors=[UnavailableError("broken")])
    assert load(ten.manager, threads, ten.manage("broken", broken)) is not None

    assert load(ten.manager, threads, ten.manage("next", taking(10))) is None


def test_a_lower_estimate_after_the_load_gives_room_back(threads: Threads) -> None:
    """Ten to load, five to stay."""
    ten = TenUnits(threads)
    shrinking = FakeLoader(takes=main_ram(10), on_load=lambda: shrink())

    def shrink() -> None:
        shrinking.takes = main_ram(5)

    assert load(ten.manager, threads, ten.manage("shrinking", shrinking)) is None

    assert load(ten.manager, threads, ten.manage("next", taking(5))) is None


def test_a_load_waits_for_what_is_being_unloaded(real_threads: Threads) -> None:
    """Also when the unload was asked for after the load that waits for another one."""
    ten, gate = TenUnits(real_threads), Gate()
    leaving = ten.manage("leaving", FakeLoader(takes=main_ram(10), on_unload=gate))
    assert load(ten.manager, real_threads, leaving) is None
    unloaded = Outcome()
    ten.manager.unload(leaving, unloaded)
    gate.wait_until_entered()

    outcome = ten.load("coming", taking(5))
    real_threads.load.settle()
    had_to_wait = not outcome.is_ended
    gate.open()

    assert had_to_wait
    assert outcome.wait() is None
    assert unloaded.wait() is None


def test_a_waiting_load_holds_nobody_up(real_threads: Threads) -> None:
    """One that fits goes past it, and an unload can still be asked for."""
    ten, gate = TenUnits(real_threads), Gate()
    small = ten.manage("small", taking(2))
    leaving = ten.manage("leaving", FakeLoader(takes=main_ram(4), on_unload=gate))
    for servable_id in (small, leaving):
        assert load(ten.manager, real_threads, servable_id) is None
    ten.manager.unload(leaving)
    gate.wait_until_entered()
    waiting = ten.load("waiting", taking(10))

    fits = ten.load("fits", taking(4))
    assert fits.wait() is None
    ten.manager.unload(small)
    ten.manager.unload(ServableId("fits", 1))
    still_waits = not waiting.is_ended
    gate.open()

    assert still_waits
    assert waiting.wait() is None


def test_what_never_fits_is_denied_and_the_next_is_loaded(threads: Threads) -> None:
    """Eleven of ten units, whatever else is going on; the loader is not touched."""
    ten, large = TenUnits(threads), taking(11)

    denied = ten.load("large", large)
    approved = ten.load("small", taking(10))
    threads.settle()

    assert isinstance(denied.wait(), ResourceExhaustedError)
    assert approved.wait() is None
    assert large.load_calls == []


def test_a_load_can_be_told_to_wait_for_room(threads: Threads) -> None:
    """It is loaded when something has been unloaded; what never fits is denied all the same."""
    ten = TenUnits(threads, on_insufficient=OnInsufficient.WAIT)
    large = ten.manage("large", taking(10))
    assert load(ten.manager, threads, large) is None
    waiting = ten.load("waiting", taking(1))
    threads.settle()
    assert not waiting.is_ended
    too_large = ten.load("too large", taking(11))

    assert unload(ten.manager, threads, large) is None

    assert waiting.wait() is None
    assert isinstance(too_large.wait(), ResourceExhaustedError)


def test_a_load_that_waits_for_room_can_be_cancelled(threads: Threads) -> None:
    """It ends, and its room is no one's."""
    ten = TenUnits(threads, on_insufficient=OnInsufficient.WAIT)
    assert load(ten.manager, threads, ten.manage("large", taking(10))) is None
    waiting = ten.load("waiting", taking(1))
    threads.settle()

    ten.manager.cancel_load(ServableId("waiting", 1))
    threads.settle()

    assert isinstance(waiting.wait(), CancelledError)
    assert ten.states("waiting", 1) == [S.START, S.END]


def test_a_failing_estimate_ends_with_a_message_that_says_so(threads: Threads) -> None:
    """The loader's own error comes after it."""
    error = UnavailableError("no answer")
    ten = TenUnits(threads)

    ended = load(ten.manager, threads, ten.manage("a", FakeLoader(on_estimate=raising([error]))))

    assert isinstance(ended, UnavailableError)
    assert str(ended) == (
        "Error while attempting to reserve resources to load servable "
        "{name: a version: 1}: no answer"
    )
    state = ten.monitor.state(ServableId("a", 1))
    assert state is not None
    assert (state.manager_state, state.error) == (S.END, ended)


def test_an_estimate_is_tried_again(threads: Threads) -> None:
    """As a load is, with a pause that holds no thread and no lock."""
    ten = TenUnits(threads, RetryPolicy(max_retries=1, interval_seconds=3))
    outcome = ten.load("a", FakeLoader(on_estimate=raising([UnavailableError("no answer")])))
    threads.settle()
    assert ten.timer.pauses == [3]
    assert load(ten.manager, threads, ten.manage("other", taking(1))) is None

    ten.timer.advance(3)
    threads.settle()

    assert outcome.wait() is None


def test_an_estimate_that_always_fails_fails_the_load(threads: Threads) -> None:
    """After as many tries as a load has."""
    ten = TenUnits(threads, RetryPolicy(max_retries=1, interval_seconds=0))
    errors: list[Exception] = [UnavailableError("no answer") for _ in range(5)]

    error = load(ten.manager, threads, ten.manage("a", FakeLoader(on_estimate=raising(errors))))

    assert isinstance(error, UnavailableError)
    assert len(errors) == 3
    assert ten.state("a", 1) is S.END


def test_an_estimate_that_is_not_worth_it_is_not_tried_again(threads: Threads) -> None:
    """The filter decides, and no pause is taken."""
    policy = RetryPolicy(
        interval_seconds=100,
        should_retry=lambda error: not isinstance(error, InvalidArgumentError),
    )
    ten = TenUnits(threads, policy)
    errors: list[Exception] = [InvalidArgumentError("Non-retriable error.")] * 2

    error = load(ten.manager, threads, ten.manage("a", FakeLoader(on_estimate=raising(errors))))

    assert isinstance(error, InvalidArgumentError)
    assert "Non-retriable error." in str(error)
    assert len(errors) == 1
    assert ten.timer.pauses == []


def raising(errors: list[Exception]) -> Callable[[], None]:
    """Return what raises these in turn, and then nothing."""

    def answer() -> None:
        if errors:
            raise errors.pop(0)

    return answer
