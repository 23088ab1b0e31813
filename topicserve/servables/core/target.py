"""Where aspired versions go (TF Serving: core/target.h)."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from topicserve.servables.core.managers.servable_data import ServableData

T = TypeVar("T")


class Target(Protocol[T]):
    """Takes aspired versions.

    What it is told of a stream replaces all that was said of it before; see Source.
    """

    def get_aspired_versions_callback(self) -> Callable[[str, Sequence[ServableData[T]]], None]:
        """Return what a source may call for ever, from any thread."""


class TargetBase(ABC, Generic[T]):
    """A target whose callback outlives it: once detached, calls do nothing.

    Sources may call from any thread; `_calls` lets one in at a time. So `set_aspired_versions` must
    be quick, or it holds up all sources, and `detach` with them.
    """

    def __init__(self) -> None:
        self._calls = threading.RLock()
        self._is_detached = False

    def get_aspired_versions_callback(self) -> Callable[[str, Sequence[ServableData[T]]], None]:
        """Return what a source may call for ever, from any thread."""
        return self._receive

    @abstractmethod
    def set_aspired_versions(self, name: str, versions: Sequence[ServableData[T]]) -> None:
        """Take what is aspired of the stream `name`, in place of what was before."""

    def detach(self) -> None:
        """Hear nothing any more. On return no call is in progress, and none will begin."""
        self._is_detached = True
        with self._calls:
            pass

    def _receive(self, name: str, versions: Sequence[ServableData[T]]) -> None:
        with self._calls:
            if not self._is_detached:
                self.set_aspired_versions(name, versions)
