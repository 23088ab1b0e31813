"""What keeps a servable's versions from being available, also while loads are being retried."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from topicserve.servables.core.managers.loader_harness import ServableStateSnapshot
from topicserve.servables.core.servable_state import ManagerState, ServableState

_ON_ITS_WAY = (ManagerState.START, ManagerState.LOADING)


def with_load_errors(
    states: Mapping[int, ServableState], managed: Iterable[ServableStateSnapshot]
) -> dict[int, ServableState]:
    """Return the states by version; one that is being loaded has the error of its last try."""
    errors = {one.id.version: one.load_error for one in managed}
    return {
        version: replace(state, error=errors.get(version))
        if state.manager_state in _ON_ITS_WAY
        else state
        for version, state in states.items()
    }


def problem_of(states: Mapping[int, ServableState]) -> str:
    """Return why the newest version that has failed did, in one line; empty where none has."""
    for version in sorted(states, reverse=True):
        error = states[version].error
        if error is not None:
            return f"version {version}: {error}"
    return ""
