"""Which version a request stands for: one may name a label, or leave the choice to the default."""

from collections.abc import Sequence

from topicserve.servables.core.errors import InvalidArgumentError, NotFoundError
from topicserve.servables.core.manager import Manager
from topicserve.servables.core.servable_handle import PinnedServable
from topicserve.servables.core.servable_request import ServableRequest
from topicserve.servables.server.version_labels import VersionLabels
from topicserve.servables.server.version_roles import VersionRoles


class RequestResolver:
    """Pins what requests stand for. Any thread may call it; nothing waits for a load.

    Labels and the default move while versions are loaded and unloaded. So what is found not to be
    available is resolved again, until both are of one moment: only then is NotFoundError raised. A
    label that is not known is an InvalidArgumentError.
    """

    def __init__(
        self,
        manager: Manager,
        roles: VersionRoles,
        labels: VersionLabels,
        *,
        allow_version_labels: bool,
    ) -> None:
        self._manager = manager
        self._roles = roles
        self._labels = labels
        self._allow_version_labels = allow_version_labels

    def pin(self, request: ServableRequest) -> PinnedServable:
        """Return what is asked for, pinned by one for a handle."""
        if request.label is None and not request.default_version:
            return self._manager.pin_servable(request)
        resolved = self._resolved(request)
        while True:
            try:
                return self._manager.pin_servable(resolved)
            except NotFoundError:
                before, resolved = resolved, self._resolved(request)
                if resolved == before:
                    raise

    def pin_all(self, requests: Sequence[ServableRequest]) -> list[PinnedServable]:
        """Return all of what is asked for as it was at one moment.

        The latest of a servable is never one that the guard rejected.
        """
        resolved = self._resolved_together(requests)
        while True:
            try:
                return self._manager.pin_servables(resolved)
            except NotFoundError:
                before, resolved = resolved, self._resolved_together(requests)
                if resolved == before:
                    raise

    def _resolved_together(self, requests: Sequence[ServableRequest]) -> list[ServableRequest]:
        return [
            self._roles.latest(one.name)
            if one == ServableRequest.latest(one.name)
            else self._resolved(one)
            for one in requests
        ]

    def _resolved(self, request: ServableRequest) -> ServableRequest:
        if request.default_version:
            return self._roles.default(request.name)
        if request.label is None:
            return request
        if not self._allow_version_labels:
            raise InvalidArgumentError(f"{request}: version labels are disabled")
        return ServableRequest.specific(
            request.name, self._labels.resolve(request.name, request.label)
        )
