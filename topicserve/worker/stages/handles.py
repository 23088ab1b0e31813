"""What the worker takes handles from.

`ServedVersions` of `worker/runtime` stands for a ServerCore; tests have their own.
"""

from collections.abc import Collection
from contextlib import AbstractContextManager
from typing import Protocol

from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_request import ServableRequest
from topicserve.servables.kinds.servable import Servable


class Handle(AbstractContextManager["Handle"], Protocol):
    """Keeps one version loaded while it is open.

    One thread uses and closes it; a batch opens one, so a swap never splits a batch. Not closed, it
    keeps its version in memory until it is collected, which is logged.
    """

    @property
    def servable(self) -> Servable:
        """The version itself."""

    @property
    def id(self) -> ServableId:
        """Its name and version."""


class Servables(Protocol):
    """Where handles come from: a ServerCore, or a manager of the caller's own.

    Any thread may call it; nothing waits, neither for a load nor for a lock of the lifecycle.
    """

    def get_servable_handle(self, request: ServableRequest) -> Handle:
        """Return a handle at once, or raise NotFoundError or InvalidArgumentError.

        Whether that may pass, `may_become_available` says; a version or label that no one knows is
        waited for as long as `delivery.unknown_version_timeout_seconds`.
        """

    def names(self) -> Collection[str]:
        """Return the names of what is configured now, available or not."""

    def may_become_available(self, request: ServableRequest) -> bool:
        """Return whether what was not found is loading, or may still be loaded."""
