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
from topicserve.servables.core.policies.resource_preserving_policy import resource_preserving_policy
from topicserve.servables.core.servable_id import ServableId


def load(version: int) -> ServableAction:
    """Return the action."""
    return ServableAction(Action.LOAD, ServableId(STREAM, version))


def unload(version: int) -> ServableAction:
    """Return the action."""
    return ServableAction(Action.UNLOAD, ServableId(STREAM, version))


def decide(*versions: AspiredServableStateSnapshot) -> ServableAction | None:
    """Ask the policy."""
    return resource_preserving_policy(versions)


def test_the_first_old_version_is_unloaded() -> None:
    """In the order of the list, before anything is loaded."""
    assert decide(
        unwanted(3, HarnessState.READY),
        aspired(4, HarnessState.NEW),
        unwanted(5, HarnessState.READY),
    ) == unload(3)


def test_the_highest_new_version_is_loaded_when_nothing_is_to_be_unloaded() -> None:
    """One that has been unloaded is no obstacle."""
    assert decide(
        unwanted(3, HarnessState.DISABLED),
        aspired(4, HarnessState.NEW),
        aspired(5, HarnessState.NEW),
    ) == load(5)


def test_there_may_be_nothing_to_do() -> None:
    """Nothing is new, and nothing ready is unwanted."""
    assert (
        decide(
            aspired(3, HarnessState.READY),
            aspired(4, HarnessState.ERROR),
            aspired(5, HarnessState.UNLOADING),
            unwanted(6, HarnessState.DISABLED),
        )
        is None
    )


def test_nothing_is_loaded_while_something_is_on_its_way_out() -> None:
    """It still takes its memory."""
    assert decide(unwanted(3, HarnessState.UNLOAD_REQUESTED), aspired(4, HarnessState.NEW)) is None


def test_a_broken_old_version_is_no_obstacle() -> None:
    """It takes no memory."""
    assert decide(unwanted(1, HarnessState.ERROR), aspired(2, HarnessState.NEW)) == load(2)


def test_one_old_version_on_its_way_out_is_enough_to_wait() -> None:
    """Beside a broken one."""
    assert (
        decide(
            unwanted(1, HarnessState.ERROR),
            unwanted(2, HarnessState.UNLOAD_REQUESTED),
            aspired(3, HarnessState.NEW),
        )
        is None
    )


def test_old_versions_that_have_ended_allow_a_load() -> None:
    """However they ended."""
    assert decide(
        unwanted(1, HarnessState.ERROR),
        unwanted(2, HarnessState.DISABLED),
        aspired(3, HarnessState.NEW),
    ) == load(3)


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
def test_nothing_is_loaded_while_an_unwanted_version_takes_memory(
    versions: Sequence[AspiredServableStateSnapshot],
) -> None:
    """Whatever the versions."""
    action = resource_preserving_policy(versions)

    if action is not None and action.action is Action.LOAD:
        assert all(
            one.is_aspired or one.state in (HarnessState.DISABLED, HarnessState.ERROR)
            for one in versions
        )
