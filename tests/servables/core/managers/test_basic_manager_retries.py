"""Loads that fail, are tried again, or are no longer wanted."""

import pytest

from tests.support.servables.lifecycle import (
    FakeLoader,
    Gate,
    Outcome,
    Threads,
    a_version,
    load,
)
from tests.support.servables.managers import A, B, TwoByTwo
from topicserve.servables.core.concurrency.retry import RetryPolicy
from topicserve.servables.core.errors import (
    CancelledError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
)
from topicserve.servables.core.managers.loader_harness import HarnessState
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_request import ServableRequest
from topicserve.servables.core.servable_state import ManagerState

S = ManagerState
ID = ServableId(A, 7)
FAILED = UnavailableError("disk is full")


def state_of(two: TwoByTwo, servable_id: ServableId) -> HarnessState:
    """Return a managed version's state."""
    snapshot = two.manager.get_managed_servable_state_snapshot(servable_id)
    assert snapshot is not None
    return snapshot.state


def test_a_load_that_fails_once_succeeds_when_tried_again(threads: Threads) -> None:
    """No one hears of the failure but the log."""
    two = TwoByTwo(threads)
    loader = FakeLoader(errors=[FAILED])
    two.manager.manage(a_version(*ID, loader))

    assert load(two.manager, threads, ID) is None

    assert len(loader.load_calls) == 2
    assert two.states(*ID) == [S.START, S.LOADING, S.AVAILABLE]


def test_a_load_that_always_fails_ends_with_its_error(threads: Threads) -> None:
    """After all its retries."""
    two = TwoByTwo(threads)
    loader = FakeLoader(errors=[FAILED] * 20)
    two.manager.manage(a_version(*ID, loader))

    assert load(two.manager, threads, ID) is FAILED

    assert len(loader.load_calls) == 11


def test_pauses_between_tries_hold_no_thread(threads: Threads) -> None:
    """Broken versions, however many, keep no other version waiting."""
    two = TwoByTwo(threads, RetryPolicy(max_retries=3, interval_seconds=5))
    outcomes = [Outcome() for _ in range(9)]
    for version, outcome in enumerate(outcomes):
        two.manager.manage(a_version(f"broken{version}", 1, FakeLoader(errors=[FAILED] * 9)))
        two.manager.load(ServableId(f"broken{version}", 1), outcome)
    threads.settle()
    assert two.timer.pauses == [5] * 9

    two.manager.manage(a_version(*ID))
    assert load(two.manager, threads, ID) is None

    for seconds in (5, 10, 20):
        assert not any(outcome.is_ended for outcome in outcomes)
        two.timer.advance(seconds)
        threads.settle()
    assert all(outcome.wait() is FAILED for outcome in outcomes)


def test_a_cancel_during_the_first_try_makes_it_the_last(real_threads: Threads) -> None:
    """Its error is the result, and the version has ended."""
    two, gate, outcome = TwoByTwo(real_threads), Gate(), Outcome()
    loader = FakeLoader(errors=[FAILED] * 9, on_load=gate)
    two.manager.manage(a_version(*ID, loader))
    two.manager.load(ID, outcome)
    gate.wait_until_entered()

    two.manager.cancel_load(ID)
    gate.open()

    assert outcome.wait() is FAILED
    assert len(loader.load_calls) == 1
    assert two.state(*ID) is S.END


def test_a_load_after_a_cancelled_one_fails_as_well(real_threads: Threads) -> None:
    """The version has ended in error, and needs a new life."""
    two, gate, first = TwoByTwo(real_threads), Gate(), Outcome()
    two.manager.manage(a_version(*ID, FakeLoader(errors=[FAILED] * 9, on_load=gate)))
    two.manager.load(ID, first)
    gate.wait_until_entered()
    two.manager.cancel_load(ID)
    gate.open()
    first.wait()

    assert load(two.manager, real_threads, ID) is FAILED
    assert state_of(two, ID) is HarnessState.ERROR


def test_a_cancel_during_a_pause_ends_the_load_now(threads: Threads) -> None:
    """Without another try, and without waiting for the pause."""
    two, outcome = TwoByTwo(threads, RetryPolicy(interval_seconds=60)), Outcome()
    loader = FakeLoader(errors=[FAILED] * 9)
    two.manager.manage(a_version(*ID, loader))
    two.manager.load(ID, outcome)
    threads.settle()
    assert not outcome.is_ended

    two.manager.cancel_load(ID)
    threads.settle()

    assert outcome.wait() is FAILED
    assert len(loader.load_calls) == 1
    assert two.timer.pauses == []


def test_a_load_cancelled_while_it_runs_is_undone_when_it_succeeds(real_threads: Threads) -> None:
    """It never becomes available, and what it loaded is unloaded."""
    two, gate, outcome = TwoByTwo(real_threads), Gate(), Outcome()
    loader = FakeLoader(on_load=gate)
    two.manager.manage(a_version(*ID, loader))
    two.manager.load(ID, outcome)
    gate.wait_until_entered()

    two.manager.cancel_load(ID)
    gate.open()

    assert isinstance(outcome.wait(), CancelledError)
    assert (loader.unload_calls, loader.is_loaded) == (1, False)
    assert two.states(*ID) == [S.START, S.LOADING, S.END]
    assert state_of(two, ID) is HarnessState.DISABLED
    with pytest.raises(NotFoundError):
        two.manager.get_servable_handle(ServableRequest.from_id(ID))


def test_a_load_cancelled_in_the_queue_is_never_begun(threads: Threads) -> None:
    """It costs no load, and ends as cancelled."""
    two, gate = TwoByTwo(threads), Gate()
    blockers = [ServableId(f"blocker{number}", 1) for number in range(4)]
    for blocker in blockers:
        two.manager.manage(a_version(*blocker, FakeLoader(on_load=gate)))
        two.manager.load(blocker)
    loader, outcome = FakeLoader(), Outcome()
    two.manager.manage(a_version(*ID, loader))
    two.manager.load(ID, outcome)

    two.manager.cancel_load(ID)
    gate.open()
    threads.settle()

    assert isinstance(outcome.wait(), CancelledError)
    assert loader.load_calls == []
    assert two.states(*ID) == [S.START, S.END]
    two.manager.stop_managing(ID)


def test_a_cancel_without_a_load_does_nothing(threads: Threads) -> None:
    """Neither to what is loaded nor to what is unknown."""
    two = TwoByTwo(threads)

    two.manager.cancel_load(ServableId(B, 1))
    two.manager.cancel_load(ServableId("unknown", 1))

    assert state_of(two, ServableId(B, 1)) is HarnessState.READY


def test_an_error_that_is_not_worth_it_is_not_retried(threads: Threads) -> None:
    """The filter decides; a successful load is never mistaken for a cancelled one."""
    policy = RetryPolicy(should_retry=lambda error: not isinstance(error, InvalidArgumentError))
    two, wrong = TwoByTwo(threads, policy), InvalidArgumentError("not a model")
    loader = FakeLoader(errors=[wrong] * 9)
    two.manager.manage(a_version(*ID, loader))

    assert load(two.manager, threads, ID) is wrong

    assert len(loader.load_calls) == 1
    two.manager.manage(a_version(A, 8))
    assert load(two.manager, threads, ServableId(A, 8)) is None


def test_closing_during_a_load_leaves_nothing_loaded(real_threads: Threads) -> None:
    """It does not wait longer than it is told; the load is undone when it ends."""
    two, gate, outcome = TwoByTwo(real_threads), Gate(), Outcome()
    loader = FakeLoader(on_load=gate)
    two.manager.manage(a_version(*ID, loader))
    two.manager.load(ID, outcome)
    gate.wait_until_entered()

    closed_in_time = two.manager.close(0)
    gate.open()
    outcome.wait()

    assert not closed_in_time
    assert (loader.is_loaded, loader.unload_calls) == (False, 1)
    assert two.state(*ID) is S.END


def test_closing_ends_pauses(real_threads: Threads) -> None:
    """A broken version does not keep the process from ending."""
    two, outcome = TwoByTwo(real_threads, RetryPolicy(interval_seconds=60)), Outcome()
    two.manager.manage(a_version(*ID, FakeLoader(errors=[FAILED] * 9)))
    two.manager.load(ID, outcome)
    real_threads.settle()

    assert two.manager.close(30)

    assert outcome.wait() is FAILED
    assert two.manager.list_available_servable_ids() == []
