"""A manager of what is there already (TF Serving: core/static_manager.h). For tests and tools."""

from collections.abc import Sequence
from typing import Any

from topicserve.servables.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
)
from topicserve.servables.manager import Manager
from topicserve.servables.servable_handle import PinnedServable
from topicserve.servables.servable_id import ServableId
from topicserve.servables.servable_request import ServableRequest
from topicserve.servables.serving_map import ServingMap


class StaticManager(Manager):
    """Serves what it was built with, for ever."""

    def __init__(self, serving: ServingMap) -> None:
        self._serving = serving

    def list_available_servable_ids(self) -> list[ServableId]:
        """Return what is available, in order."""
        return list(self._serving.generation.ids)

    def pin_servable(self, request: ServableRequest) -> PinnedServable:
        """Return what is asked for, or raise NotFoundError."""
        return self._serving.pin(request)

    def pin_servables(self, requests: Sequence[ServableRequest]) -> list[PinnedServable]:
        """Return all of what is asked for, or raise NotFoundError."""
        return self._serving.pin_all(requests)


class StaticManagerBuilder:
    """Takes servables, then makes a manager of them, once."""

    def __init__(self) -> None:
        self._servables: dict[ServableId, PinnedServable] | None = {}

    def add_servable(self, servable_id: ServableId, servable: Any) -> None:
        """Add one.

        InvalidArgumentError for None, AlreadyExistsError for an id that is there already,
        FailedPreconditionError after `build`.
        """
        servables = self._not_built()
        if servable is None:
            raise InvalidArgumentError(f"servable {servable_id} must not be None")
        if servable_id in servables:
            raise AlreadyExistsError(f"servable {servable_id} is there already")
        servables[servable_id] = PinnedServable(servable_id, servable)

    def build(self) -> StaticManager:
        """Return the manager; FailedPreconditionError the second time."""
        serving = ServingMap()
        serving.publish(self._not_built().values())
        self._servables = None
        return StaticManager(serving)

    def _not_built(self) -> dict[ServableId, PinnedServable]:
        if self._servables is None:
            raise FailedPreconditionError("the manager has been built; use a new builder")
        return self._servables
