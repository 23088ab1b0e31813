"""Where handles come from (TF Serving: core/manager.h)."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, overload

from topicserve.servables.core.errors import InvalidArgumentError, NotFoundError
from topicserve.servables.core.managers.serving_map import ServingMap
from topicserve.servables.core.servable_handle import PinnedServable, ServableHandle
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_request import ServableRequest

S = TypeVar("S")


class Manager(ABC):
    """Gives out handles on what is available.

    Any thread may call it. Nothing waits for a load, unless an implementation says so, and a lookup
    takes no lock. NotFoundError: it is not available now, and may be later. InvalidArgumentError:
    the request itself is wrong, and asking again does not help.
    """

    @abstractmethod
    def list_available_servable_ids(self) -> list[ServableId]:
        """Return what is available now, in order."""

    @abstractmethod
    def pin_servable(self, request: ServableRequest) -> PinnedServable:
        """Return what is asked for, pinned by one for a handle, or raise NotFoundError."""

    @abstractmethod
    def pin_servables(self, requests: Sequence[ServableRequest]) -> list[PinnedServable]:
        """Return all of what is asked for as it was at one moment, or raise NotFoundError."""

    @overload
    def get_servable_handle(self, request: ServableRequest) -> ServableHandle[Any]: ...

    @overload
    def get_servable_handle(
        self, request: ServableRequest, servable_type: type[S]
    ) -> ServableHandle[S]: ...

    def get_servable_handle(
        self, request: ServableRequest, servable_type: type[Any] | None = None
    ) -> ServableHandle[Any]:
        """Return a handle on what is asked for; the caller closes it.

        Raises NotFoundError, or InvalidArgumentError where the servable is no `servable_type`.
        """
        pinned = self.pin_servable(request)
        if servable_type is not None and not isinstance(pinned.servable, servable_type):
            found = type(pinned.servable).__name__
            pinned.unpin()
            raise InvalidArgumentError(
                f"servable {pinned.id} is a {found}, not the {servable_type.__name__} asked for"
            )
        return ServableHandle(pinned, sys._getframe(1))  # noqa: SLF001

    def get_servable_handles(
        self, requests: Sequence[ServableRequest]
    ) -> list[ServableHandle[Any]]:
        """Return handles on versions that were all available at one moment.

        Raises NotFoundError for the first that is missing, and takes none then.
        """
        taken_in = sys._getframe(1)  # noqa: SLF001
        return [ServableHandle(pinned, taken_in) for pinned in self.pin_servables(requests)]

    def get_available_servable_handles(
        self, servable_type: type[S]
    ) -> Mapping[ServableId, ServableHandle[S]]:
        """Return a handle on every available servable of this type; others are left out."""
        taken_in = sys._getframe(1)  # noqa: SLF001
        handles: dict[ServableId, ServableHandle[S]] = {}
        for servable_id in self.list_available_servable_ids():
            try:
                pinned = self.pin_servable(ServableRequest.from_id(servable_id))
            except NotFoundError:
                continue  # unloaded since it was listed
            if isinstance(pinned.servable, servable_type):
                handles[servable_id] = ServableHandle(pinned, taken_in)
            else:
                pinned.unpin()
        return handles


class ServingManager(Manager):
    """A manager that gives out what a map serves."""

    def __init__(self, serving: ServingMap) -> None:
        self._serving = serving

    def list_available_servable_ids(self) -> list[ServableId]:
        """Return what is available now, in order."""
        return list(self._serving.ids)

    def available_versions(self, name: str) -> Sequence[int]:
        """Return the versions of a name that are available now, in order."""
        return self._serving.versions(name)

    def pin_servable(self, request: ServableRequest) -> PinnedServable:
        """Return what is asked for, pinned by one for a handle, or raise NotFoundError."""
        return self._serving.pin(request)

    def pin_servables(self, requests: Sequence[ServableRequest]) -> list[PinnedServable]:
        """Return all of what is asked for as it was at one moment, or raise NotFoundError."""
        return self._serving.pin_all(requests)
