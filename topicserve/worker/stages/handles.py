"""What the worker takes handles from."""

from collections.abc import Collection
from contextlib import AbstractContextManager
from typing import Protocol

from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_request import ServableRequest
from topicserve.servables.kinds.servable import Servable


class Handle(AbstractContextManager["Handle"], Protocol):
    """Keeps one version loaded while it is open."""

    @property
    def servable(self) -> Servable:
        """The version itself."""

    @property
    def id(self) -> ServableId:
        """Its name and version."""


class Servables(Protocol):
    """Where handles come from: a ServerCore, or a manager of the caller's own."""

    def get_servable_handle(self, request: ServableRequest) -> Handle:
        """Return a handle at once, or raise NotFoundError or InvalidArgumentError."""

    def names(self) -> Collection[str]:
        """Return the names of what is configured now, available or not."""

    def may_become_available(self, request: ServableRequest) -> bool:
        """Return whether what was not found is loading, or may still be loaded."""
