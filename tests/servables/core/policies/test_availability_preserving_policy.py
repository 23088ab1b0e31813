from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from tests.support.servables.snapshots import STREAM, aspired, unwanted
from topicserve.servables.core.managers.loader_harness import HarnessState
from topicserve.servables.core.policies.aspired_version_policy import (
    Action,
    AspiredServableStateSnapshot,
    ServableAction,
)
from topicserve.servables.core.policies.availability_preserving_policy import (
    availability_preserving_policy,
)
from topicserve.servables.core.servable_id import ServableId


def load(version: int) -> ServableAction:
    """Return the action."""
    return ServableAction(Action.LOAD, ServableId(STREAM, version))


def unload(version: int) -> ServableAction:
    """Return the action."""
    return ServableAction(Action.UNLOAD, ServableId(STREAM, version))


def decide(*versions: AspiredServableStateSnapshot) -> ServableAction | None:
    """Ask the policy."""
    return availability_preserving_policy(versions)


def test_a_new_aspired_version_is_loaded() -> None:
    """The highest one, where there is nothing to unload."""
    assert decide(
        aspired(3, HarnessState.READY),
        aspired(4, HarnessState.NEW),
        aspired(5, HarnessState.NEW),
    ) == load(5)


def test_an_old_version_is_unloaded_before_a_new_one_is_loaded() -> None:
    """When another aspired one is ready."""
    assert decide(
        unwanted(3, HarnessState.READY),
        aspired(4, HarnessState.READY),
        aspired(5, HarnessState.NEW),
    ) == unload(3)


def test_what_nobody_aspires_is_unloaded() -> None:
    """Availability is given up on purpose then."""
    assert decide(
        unwanted(1, HarnessState.DISABLED),
        unwanted(2, HarnessState.READY),
    ) == unload(2)


def test_there_may_be_nothing_to_do() -> None:
    """No old version is ready and no new one waits."""
    assert (
        decide(
            aspired(1, HarnessState.READY),
            aspired(2, HarnessState.ERROR),
            aspired(3, HarnessState.LOADING),
            unwanted(4, HarnessState.UNLOADING),
            unwanted(5, HarnessState.DISABLED),
        )
        is None
    )


def test_the_old_version_stays_while_the_new_one_loads() -> None:
    """It is all there is."""
    assert decide(unwanted(1, HarnessState.READY), aspired(2, HarnessState.LOADING)) is None


def test_the_old_version_stays_when_the_new_one_failed() -> None:
    """For ever, if need be."""
    assert decide(unwanted(1, HarnessState.READY), aspired(2, HarnessState.ERROR)) is None


def test_the_old_version_goes_when_one_is_ready_and_another_loads() -> None:
    """One that is ready is enough."""
    assert decide(
        unwanted(1, HarnessState.READY),
        aspired(2, HarnessState.READY),
        aspired(3, HarnessState.LOADING),
    ) == unload(1)


def test_the_old_version_goes_when_one_is_ready_and_another_failed() -> None:
    """One that is ready is enough."""
    assert decide(
        unwanted(1, HarnessState.READY),
        aspired(2, HarnessState.READY),
        aspired(3, HarnessState.ERROR),
    ) == unload(1)


def test_of_two_old_versions_the_lower_goes_first() -> None:
    """One of them is enough to serve until the new one is ready."""
    assert decide(
        unwanted(2, HarnessState.READY),
        unwanted(1, HarnessState.READY),
        aspired(3, HarnessState.LOADING),
    ) == unload(1)


@given(
    st.lists(
        st.builds(
            lambda version, state, is_aspired: AspiredServableStateSnapshot(
                ServableId(STREAM, version), state, is_aspired
            ),
            st.integers(0, 9),
            st.sampled_from(HarnessState),
            st.booleans(),
        ),
        unique_by=lambda one: one.id,
    )
)
def test_the_last_ready_version_is_never_unloaded_for_one_that_is_not(
    versions: Sequence[AspiredServableStateSnapshot],
) -> None:
    """Whatever the versions: an action makes sense, and availability is kept while it is wanted."""
    action = availability_preserving_policy(versions)

    if action is None:
        return
    (chosen,) = [one for one in versions if one.id == action.id]
    if action.action is Action.LOAD:
        assert chosen.is_aspired
        assert chosen.state is HarnessState.NEW
        return
    assert not chosen.is_aspired
    assert chosen.state is HarnessState.READY
    others_ready = [one for one in versions if one.state is HarnessState.READY and one != chosen]
    assert others_ready or not any(one.is_aspired for one in versions)
