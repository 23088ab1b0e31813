"""Puts a prefix before paths (TF Serving: core/prefix_storage_path_source_adapter.h)."""

from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.source_adapter import UnarySourceAdapter
from topicserve.servables.core.storage_path import StoragePath


class PrefixStoragePathSourceAdapter(UnarySourceAdapter[StoragePath, StoragePath]):
    """Joins the prefix and each path with one slash; an empty prefix changes nothing."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    def convert(self, data: ServableData[StoragePath]) -> StoragePath:
        """Return the path behind the prefix."""
        if not self._prefix:
            return data.payload
        return StoragePath(f"{self._prefix.rstrip('/')}/{data.payload.lstrip('/')}")
