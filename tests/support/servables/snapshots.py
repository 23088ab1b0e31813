"""Versions of a stream as a policy sees them, in one line."""

from topicserve.servables.core.managers.loader_harness import HarnessState
from topicserve.servables.core.policies.aspired_version_policy import AspiredServableStateSnapshot
from topicserve.servables.core.servable_id import ServableId

STREAM = "stream"


def aspired(version: int, state: HarnessState) -> AspiredServableStateSnapshot:
    """Return a version that is wanted."""
    return AspiredServableStateSnapshot(ServableId(STREAM, version), state, True)


def unwanted(version: int, state: HarnessState) -> AspiredServableStateSnapshot:
    """Return a version that is not."""
    return AspiredServableStateSnapshot(ServableId(STREAM, version), state, False)
