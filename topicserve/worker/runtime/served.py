"""What the worker asks the servable core: handles, and what may still become available."""

from collections.abc import Sequence

from topicserve.servables.core.servable_handle import ServableHandle
from topicserve.servables.core.servable_request import ServableRequest
from topicserve.servables.core.servable_state import ManagerState
from topicserve.servables.kinds.servable import Servable
from topicserve.servables.server.server_core import ServerCore

_ON_ITS_WAY = (ManagerState.START, ManagerState.LOADING, ManagerState.AVAILABLE)


class ServedVersions:
    """A ServerCore as the worker sees it. Any thread may call it."""

    def __init__(self, core: ServerCore) -> None:
        self._core = core

    def get_servable_handle(self, request: ServableRequest) -> ServableHandle[Servable]:
        """Return a handle at once, or raise NotFoundError or InvalidArgumentError."""
        return self._core.get_servable_handle(request)

    def names(self) -> Sequence[str]:
        """Return the names of what is configured now, available or not."""
        return self._core.servable_names()

    def may_become_available(self, request: ServableRequest) -> bool:
        """Return whether what was not found is on its way.

        Where a servable has no version at all, all of its versions are: nothing is known yet. So
        is always the default: that it is missing is no record's fault.
        """
        if request.default_version:
            return True
        states = self._core.monitor.versions(request.name)
        if not any(state.manager_state is ManagerState.AVAILABLE for state in states.values()):
            return True
        version = request.version
        if request.label is not None:
            version = self._core.labels(request.name).get(request.label)
        state = states.get(version) if version is not None else None
        return state is not None and state.manager_state in _ON_ITS_WAY

    def unavailable(self) -> Sequence[str]:
        """Return the names of the servables whose default version is not available."""
        return [name for name in self.names() if self._core.default_version(name) is None]
