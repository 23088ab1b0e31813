from collections.abc import Callable

import pytest

from tests.support.servables.lifecycle import FakeLoader, a_version
from topicserve.servables.core.errors import (
    CancelledError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    UnknownError,
)
from topicserve.servables.core.managers.loader_harness import _NEXT, HarnessState, LoaderHarness
from topicserve.servables.core.resources.resource_allocation import main_ram
from topicserve.servables.core.servable_id import ServableId

ID = ServableId("a", 1)


def a_harness(loader: FakeLoader | None = None, additional_state: object = None) -> LoaderHarness:
    """Return a new harness."""
    return LoaderHarness(a_version("a", 1, loader), additional_state)


def a_ready_harness(loader: FakeLoader | None = None) -> LoaderHarness:
    """Return one whose loader has loaded."""
    harness = a_harness(loader)
    harness.load_requested()
    harness.load_approved()
    harness.begin_load()
    harness.load()
    harness.loaded()
    return harness


def test_a_new_harness_has_touched_nothing() -> None:
    """It has the id, is new, and the loader was not asked for anything."""
    loader = FakeLoader()

    harness = a_harness(loader)

    assert (harness.id, harness.state, harness.error) == (ID, HarnessState.NEW, None)
    assert (harness.snapshot().id, harness.snapshot().state) == (ID, HarnessState.NEW)
    assert loader.load_calls == []


def test_a_load_is_requested_and_approved_before_it_begins() -> None:
    """One state after another."""
    harness, states = a_harness(), []

    for step in (harness.load_requested, harness.load_approved, harness.begin_load):
        step()
        states.append(harness.state)

    assert states == [
        HarnessState.LOAD_REQUESTED,
        HarnessState.LOAD_APPROVED,
        HarnessState.LOADING,
    ]


def test_a_load_calls_the_loader_with_its_id() -> None:
    """And the harness is ready when the manager says so."""
    loader = FakeLoader()

    harness = a_ready_harness(loader)

    assert harness.state is HarnessState.READY
    assert loader.load_calls == [ID]
    assert harness.load_attempts == 1
    assert harness.pinned is not None
    assert harness.pinned.servable == 1


def test_an_unload_goes_by_way_of_quiescing() -> None:
    """Requested, quiescing, quiesced; then the loader unloads, once."""
    loader = FakeLoader()
    harness, states = a_ready_harness(loader), []

    for step in (harness.unload_requested, harness.start_quiescing, harness.done_quiescing):
        step()
        states.append((harness.state, loader.unload_calls))
    for step in (harness.unload, harness.unloaded):
        step()
        states.append((harness.state, loader.unload_calls))

    assert states == [
        (HarnessState.UNLOAD_REQUESTED, 0),
        (HarnessState.QUIESCING, 0),
        (HarnessState.QUIESCED, 0),
        (HarnessState.UNLOADING, 1),
        (HarnessState.DISABLED, 1),
    ]


def test_a_failing_load_raises_its_error_and_leaves_the_rest_to_the_manager() -> None:
    """Which tries again, or gives the version up."""
    harness = a_harness(FakeLoader(errors=[NotFoundError("no file"), ValueError("odd")]))
    harness.load_requested()
    harness.load_approved()
    harness.begin_load()

    with pytest.raises(NotFoundError, match="no file"):
        harness.load()
    with pytest.raises(UnknownError, match="ValueError: odd"):
        harness.load()
    assert harness.state is HarnessState.LOADING
    harness.load()

    assert harness.load_attempts == 3


def test_a_given_up_version_is_in_error() -> None:
    """The error can be read."""
    harness, error = a_harness(), NotFoundError("no file")

    harness.fail(error)

    assert (harness.state, harness.error) == (HarnessState.ERROR, error)


def test_a_version_that_came_with_an_error_is_in_error_from_the_start() -> None:
    """It has no loader, and a load answers its error."""
    error = InvalidArgumentError("bad path")

    harness = LoaderHarness(a_version("a", 1, error))

    assert (harness.state, harness.error) == (HarnessState.ERROR, error)
    with pytest.raises(InvalidArgumentError, match="bad path"):
        harness.load_requested()


def test_additional_state_can_be_read_as_its_own_type_alone() -> None:
    """Another type, or none at all, gives None."""
    snapshot = a_harness(additional_state=7).snapshot()

    assert snapshot.additional_state_as(int) == 7
    assert snapshot.additional_state_as(str) is None
    assert a_harness().snapshot().additional_state_as(int) is None


def test_of_several_load_requests_the_first_counts() -> None:
    """The others are refused and change nothing."""
    harness = a_harness()
    harness.load_requested()

    with pytest.raises(FailedPreconditionError, match="Duplicate load request"):
        harness.load_requested()

    assert harness.state is HarnessState.LOAD_REQUESTED


def test_of_several_unload_requests_the_first_counts() -> None:
    """The others are refused and change nothing."""
    harness = a_ready_harness()
    harness.unload_requested()

    with pytest.raises(FailedPreconditionError, match="unload already requested/ongoing"):
        harness.unload_requested()

    assert harness.state is HarnessState.UNLOAD_REQUESTED


def test_a_load_cancelled_meanwhile_is_undone() -> None:
    """The loader unloads what it loaded; the result says cancelled."""
    loader = FakeLoader(on_load=lambda: harness.cancel_load())
    harness = a_harness(loader)
    harness.load_requested()
    harness.load_approved()
    harness.begin_load()

    with pytest.raises(CancelledError, match="no longer aspired"):
        harness.load()

    harness.unloaded()
    assert harness.state is HarnessState.DISABLED
    assert isinstance(harness.error, CancelledError)
    assert (len(loader.load_calls), loader.unload_calls) == (1, 1)
    assert harness.pinned is None


def test_a_failing_unload_is_raised() -> None:
    """It is our own fault, and names the version; the manager says when it has ended."""

    def fail() -> None:
        raise OSError("still mapped")

    harness = a_ready_harness(FakeLoader(on_unload=fail))
    harness.unload_requested()
    harness.start_quiescing()
    harness.done_quiescing()

    with pytest.raises(InternalError, match=r"version: 1.*still mapped"):
        harness.unload()

    assert harness.state is HarnessState.UNLOADING


def test_what_a_version_takes_is_asked_before_and_after_its_load() -> None:
    """The later answer counts; where there is none, the earlier one stays."""
    loader = FakeLoader(takes=main_ram(10))
    harness = a_harness(loader)
    harness.estimate()
    assert harness.resources == main_ram(10)

    loader.takes = main_ram(5)
    harness.load_requested()
    harness.load_approved()
    harness.begin_load()
    harness.load()

    assert harness.resources == main_ram(5)


def test_an_estimate_that_fails_after_the_load_changes_nothing() -> None:
    """What is loaded works, and its upper bound is known."""
    answers = iter([None, OSError("no such file")])

    def answer() -> None:
        error = next(answers)
        if error is not None:
            raise error

    harness = a_harness(FakeLoader(takes=main_ram(10), on_estimate=answer))
    harness.estimate()
    harness.load_requested()
    harness.load_approved()
    harness.begin_load()
    harness.load()

    assert harness.resources == main_ram(10)
    assert harness.pinned is not None


STEPS: list[tuple[Callable[[LoaderHarness], None], HarnessState, HarnessState]] = [
    (LoaderHarness.load_approved, HarnessState.LOAD_REQUESTED, HarnessState.LOAD_APPROVED),
    (LoaderHarness.begin_load, HarnessState.LOAD_APPROVED, HarnessState.LOADING),
    (LoaderHarness.loaded, HarnessState.LOADING, HarnessState.READY),
    (LoaderHarness.start_quiescing, HarnessState.UNLOAD_REQUESTED, HarnessState.QUIESCING),
    (LoaderHarness.done_quiescing, HarnessState.QUIESCING, HarnessState.QUIESCED),
]


@pytest.mark.parametrize("found", HarnessState)
@pytest.mark.parametrize(("step", "expected", "to"), STEPS)
def test_a_step_out_of_turn_is_our_own_fault(
    step: Callable[[LoaderHarness], None],
    expected: HarnessState,
    to: HarnessState,
    found: HarnessState,
) -> None:
    """It ends the version: from every state but the one that it starts in."""
    harness = a_harness()
    harness._state = found

    if found is expected:
        step(harness)
        assert harness.state is to
        return
    with pytest.raises(InternalError, match=f"from {expected.value} to {to.value}"):
        step(harness)
    assert harness.state is HarnessState.ERROR


def test_every_life_ends() -> None:
    """No state leads back to one before it, and all but the last two can fail."""
    order = list(HarnessState)

    for state, following in _NEXT.items():
        assert all(order.index(one) > order.index(state) for one in following)
        is_last = state in (HarnessState.DISABLED, HarnessState.ERROR)
        assert (HarnessState.ERROR in following) is not is_last
