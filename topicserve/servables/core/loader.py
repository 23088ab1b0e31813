"""What brings a version into memory and takes it out (TF Serving: core/loader.h)."""

from abc import ABC, abstractmethod
from typing import Any

from topicserve.servables.core.resources.resource_allocation import ResourceAllocation
from topicserve.servables.core.servable_id import ServableId


class Loader(ABC):
    """Owns one version of one servable.

    Building a loader is cheap and touches nothing. The manager calls `load` at most once at a
    time, until it succeeds, and `unload` at most once after that, when the last handle has been
    closed; `load` is never called again. All may come from any thread, one at a time, and may take
    as long as they need: no lock of the manager's is held meanwhile.
    """

    @abstractmethod
    def load(self) -> None:
        """Bring the version into memory, ready for use.

        Whatever it raises is the version's error. It may be called again after a failure, so it
        must leave nothing behind then.
        """

    def load_with_id(self, servable_id: ServableId) -> None:  # noqa: ARG002
        """Do the same, told which version it is. This is the one that the manager calls."""
        self.load()

    @abstractmethod
    def unload(self) -> None:
        """Give back all that `load` took. No one uses the servable any more."""

    @property
    @abstractmethod
    def servable(self) -> Any:
        """Return the servable: None before `load` and after `unload`."""

    def estimate_resources(self) -> ResourceAllocation:
        """Return an upper bound of what the version takes, in the units of resource_allocation.

        Asked before the load, and once more after it, when the answer may only be lower. What it
        raises is retried as a failed load is. By default nothing: not counted, never refused.
        """
        return {}
