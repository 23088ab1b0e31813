from tests.support.servables.snapshots import STREAM, aspired, unwanted
from topicserve.servables.core.managers.loader_harness import HarnessState
from topicserve.servables.core.policies.aspired_version_policy import (
    Action,
    ServableAction,
    highest_aspired_new,
    load_next,
)
from topicserve.servables.core.servable_id import ServableId


def test_there_may_be_no_version_to_load() -> None:
    """New without being aspired does not count, nor does aspired without being new."""
    versions = [unwanted(10, HarnessState.NEW), aspired(7, HarnessState.UNLOADING)]

    assert highest_aspired_new(versions) is None
    assert load_next(versions) is None


def test_the_highest_aspired_new_version_is_next() -> None:
    """Higher ones that are not aspired, or not new, are passed over."""
    versions = [
        unwanted(10, HarnessState.NEW),
        aspired(9, HarnessState.UNLOADING),
        aspired(1, HarnessState.NEW),
        aspired(5, HarnessState.NEW),
        aspired(3, HarnessState.NEW),
    ]

    assert highest_aspired_new(versions) == ServableId(STREAM, 5)
    assert load_next(versions) == ServableAction(Action.LOAD, ServableId(STREAM, 5))
