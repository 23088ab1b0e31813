"""Puts sources, adapters and a manager together (core/aspired_versions_manager_builder.h)."""

from collections.abc import Callable, Sequence
from typing import Any

from topicserve.servables.core.errors import FailedPreconditionError
from topicserve.servables.core.loader import Loader
from topicserve.servables.core.managers.aspired_versions_manager import AspiredVersionsManager
from topicserve.servables.core.source import Source, connect_source_to_target
from topicserve.servables.core.source_adapter import SourceAdapter


class ServingChain:
    """A manager with what feeds it; closing it closes the whole, upstream first."""

    def __init__(
        self, manager: AspiredVersionsManager, detach: Sequence[Callable[[], None]]
    ) -> None:
        self.manager = manager
        self._detach = detach

    def start(self) -> None:
        """Act on what is aspired from now on."""
        self.manager.start()

    def close(self, timeout_seconds: float) -> bool:
        """Detach the adapters, then unload everything, as the manager's close says."""
        for detach in self._detach:
            detach()
        return self.manager.close(timeout_seconds)


class AspiredVersionsManagerBuilder:
    """Connects any number of sources, each by way of any number of adapters, then `build`s."""

    def __init__(self, manager: AspiredVersionsManager) -> None:
        self._manager: AspiredVersionsManager | None = manager
        self._chains: list[tuple[Source[Any], tuple[SourceAdapter[Any, Any], ...]]] = []

    def add_source(self, source: Source[Loader]) -> None:
        """Add a source of loaders."""
        self._chains.append((source, ()))

    def add_source_chain(self, source: Source[Any], *adapters: SourceAdapter[Any, Any]) -> None:
        """Add a source and the adapters on its way, the last of which makes loaders.

        Each takes what the one before gives; the compiler cannot check that for any number of them.
        """
        self._chains.append((source, adapters))

    def build(self) -> ServingChain:
        """Connect everything, from the manager upwards; FailedPrecondition the second time."""
        manager, self._manager = self._manager, None
        if manager is None:
            raise FailedPreconditionError("this builder has built its manager; use a new one")
        for source, adapters in self._chains:
            # The manager's end first: what a source says while it is connected must get through.
            target: Any = manager
            for adapter in reversed(adapters):
                connect_source_to_target(adapter, target)
                target = adapter
            connect_source_to_target(source, target)
        detach = [adapter.detach for _, adapters in self._chains for adapter in adapters]
        return ServingChain(manager, detach)
