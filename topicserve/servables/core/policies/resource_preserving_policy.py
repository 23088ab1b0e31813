"""Never have two versions in memory for a swap (core/resource_preserving_policy.h).

A pure function as the other one. For models of which two do not fit; records wait during a swap.
"""

from collections.abc import Sequence

from topicserve.servables.core.managers.loader_harness import HarnessState
from topicserve.servables.core.policies.aspired_version_policy import (
    Action,
    AspiredServableStateSnapshot,
    ServableAction,
    load_next,
)

_ENDED = (HarnessState.DISABLED, HarnessState.ERROR)


def resource_preserving_policy(
    versions: Sequence[AspiredServableStateSnapshot],
) -> ServableAction | None:
    """Unload all that is not aspired, and only then load.

    So a swap leaves a gap in which nothing serves, and a new version that fails leaves nothing.
    """
    unwanted = [one for one in versions if not one.is_aspired]
    for one in unwanted:
        if one.state is HarnessState.READY:
            return ServableAction(Action.UNLOAD, one.id)
    if any(one.state not in _ENDED for one in unwanted):
        return None
    return load_next(versions)
