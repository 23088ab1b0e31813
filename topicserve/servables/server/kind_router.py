"""Sends each servable's versions through the adapter of its kind and options."""

from collections.abc import Mapping, Sequence

from topicserve.servables.core.errors import FailedPreconditionError
from topicserve.servables.core.loader import Loader
from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.source_adapter import ErrorInjectingSourceAdapter, SourceAdapter
from topicserve.servables.core.storage_path import StoragePath
from topicserve.servables.core.target import Target, TargetBase

Adapter = SourceAdapter[StoragePath, Loader]


class KindRouter(TargetBase[StoragePath]):
    """A router whose routes may change at any time; what has none is an error downstream.

    The adapters are connected to one target. An adapter that no route leads to any more is
    detached; the loaders that it made live on.
    """

    def __init__(self, target: Target[Loader]) -> None:
        super().__init__()
        self._target = target
        self._routes: Mapping[str, Adapter] = {}
        self._default: Adapter = ErrorInjectingSourceAdapter(
            FailedPreconditionError("no kind was found for this servable")
        )
        self._connect(self._default)

    def set_routes(self, routes: Mapping[str, Adapter]) -> None:
        """Replace all routes: adapters by servable name, several of them perhaps the same."""
        before, after = set(self._routes.values()), set(routes.values())
        for adapter in after - before:
            self._connect(adapter)
        self._routes = dict(routes)
        for adapter in before - after:
            adapter.detach()

    def set_aspired_versions(
        self, name: str, versions: Sequence[ServableData[StoragePath]]
    ) -> None:
        """Pass on to the servable's adapter."""
        adapter = self._routes.get(name, self._default)
        adapter.get_aspired_versions_callback()(name, versions)

    def _connect(self, adapter: Adapter) -> None:
        adapter.set_aspired_versions_callback(self._target.get_aspired_versions_callback())
