"""Aspires one version for ever (TF Serving: static_storage_path_source.h)."""

from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.source import AspiredVersionsCallback
from topicserve.servables.core.storage_path import StoragePath


class StaticStoragePathSource:
    """Says once, while it is connected and on that thread, that one path is aspired."""

    def __init__(self, servable_id: ServableId, path: StoragePath) -> None:
        self._data = ServableData(servable_id, path)

    def set_aspired_versions_callback(self, callback: AspiredVersionsCallback[StoragePath]) -> None:
        """Tell `callback`."""
        callback(self._data.id.name, [self._data])
