"""Never be without a version for a swap (TF Serving: core/availability_preserving_policy.h).

A pure function from what is loaded to at most one action: no state, no lock, called under the
manager's. The default.
"""

from collections.abc import Sequence

from topicserve.servables.core.managers.loader_harness import HarnessState
from topicserve.servables.core.policies.aspired_version_policy import (
    Action,
    AspiredServableStateSnapshot,
    ServableAction,
    load_next,
)

Versions = Sequence[AspiredServableStateSnapshot]


def availability_preserving_policy(versions: Versions) -> ServableAction | None:
    """Unload an old version only when its successor answers all that it answers.

    So both are in memory during a swap, and a new version that fails leaves the old one serving,
    whatever else is loaded. One that is reserved goes as soon as another is there: the default
    answers for it. Where nothing is aspired, everything is unloaded.
    """
    is_any_aspired = any(one.is_aspired for one in versions)
    old = [one for one in versions if _is_ready(one) and not one.is_aspired]
    for one in sorted(old, key=lambda one: one.id):
        if not is_any_aspired or not _is_needed(one, versions):
            return ServableAction(Action.UNLOAD, one.id)
    return load_next(versions)


def _is_needed(old: AspiredServableStateSnapshot, versions: Versions) -> bool:
    """Return whether an old version answers something that its successor does not answer yet."""
    if old.is_named:
        return True
    if old.is_reserved:
        return not any(_is_ready(one) and one.id != old.id for one in versions)
    by_default = [one for one in versions if not one.is_reserved]
    return _is_awaiting_successor(old, versions) or _is_awaiting_successor(old, by_default)


def _is_awaiting_successor(old: AspiredServableStateSnapshot, versions: Versions) -> bool:
    """Return whether `old` is the latest of these, and the latest to be is not ready.

    The latest to be is the highest aspired version: any lower one is aspired for another reason,
    such as a label, and would answer with an older version than before.
    """
    latest = max(one.id for one in versions if _is_ready(one))
    successor = max(
        (one for one in versions if one.is_aspired), key=lambda one: one.id, default=None
    )
    return latest == old.id and (successor is None or not _is_ready(successor))


def _is_ready(version: AspiredServableStateSnapshot) -> bool:
    return version.state is HarnessState.READY
