"""Never be without a version for a swap (TF Serving: core/availability_preserving_policy.h)."""

from collections.abc import Sequence

from topicserve.servables.aspired_version_policy import (
    Action,
    AspiredServableStateSnapshot,
    ServableAction,
    load_next,
)
from topicserve.servables.loader_harness import HarnessState


def availability_preserving_policy(
    versions: Sequence[AspiredServableStateSnapshot],
) -> ServableAction | None:
    """Unload an old version only when a new one is ready, or when none is aspired.

    So both are in memory during a swap, and a new version that fails leaves the old one serving.
    Of several old versions, one is enough to keep.
    """
    old = sorted(
        one.id for one in versions if one.state is HarnessState.READY and not one.is_aspired
    )
    is_any_aspired = any(one.is_aspired for one in versions)
    is_aspired_ready = any(one.is_aspired and one.state is HarnessState.READY for one in versions)
    if old and (not is_any_aspired or is_aspired_ready or len(old) > 1):
        return ServableAction(Action.UNLOAD, old[0])
    return load_next(versions)
