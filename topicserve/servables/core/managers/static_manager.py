"""A manager of what is there already (TF Serving: core/static_manager.h). For tests and tools.

Nothing is loaded or unloaded: what it is built with is there until it is dropped.
"""

from typing import Any

from topicserve.servables.core.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
)
from topicserve.servables.core.manager import ServingManager
from topicserve.servables.core.managers.serving_map import ServingMap
from topicserve.servables.core.servable_handle import PinnedServable
from topicserve.servables.core.servable_id import ServableId


class StaticManager(ServingManager):
    """Serves what it was built with, for ever."""


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
