"""Versions of a stream as a policy sees them, in one line."""

from topicserve.servables.aspired_version_policy import AspiredServableStateSnapshot
from topicserve.servables.loader_harness import HarnessState
from topicserve.servables.servable_id import ServableId

STREAM = "stream"


def aspired(version: int, state: HarnessState) -> AspiredServableStateSnapshot:
    """Return a version that is wanted."""
    return AspiredServableStateSnapshot(ServableId(STREAM, version), state, True)


def unwanted(version: int, state: HarnessState) -> AspiredServableStateSnapshot:
    """Return a version that is not."""
    return AspiredServableStateSnapshot(ServableId(STREAM, version), state, False)
