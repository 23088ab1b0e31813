"""Loads a version that lies in an object store from a local copy."""

import shutil
import tempfile
from typing import Any

from topicserve.servables.core.loader import Loader
from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.resources.resource_allocation import ResourceAllocation, main_ram
from topicserve.servables.core.source_adapter import SourceAdapter, UnarySourceAdapter
from topicserve.servables.core.storage_path import StoragePath
from topicserve.servables.sources.file_system import FsspecFileSystem, is_url


class LocalCopyLoader(Loader):
    """Copies the files of a URL into a directory of its own, and loads from there.

    The copy lives as long as the version: a kind may read it whenever it likes.
    """

    def __init__(
        self, data: ServableData[StoragePath], kind: SourceAdapter[StoragePath, Loader]
    ) -> None:
        self._data = data
        self._kind = kind
        self._directory: str | None = None
        self._loader: Loader | None = None

    @property
    def servable(self) -> Any:
        """Return the servable loaded from the copy."""
        return None if self._loader is None else self._loader.servable

    def estimate_resources(self) -> ResourceAllocation:
        """Return the bytes of the files before they are copied, the kind's own estimate after."""
        if self._loader is not None:
            return self._loader.estimate_resources()
        files = FsspecFileSystem().list_files(self._data.payload)
        return main_ram(sum(file.size_bytes for file in files))

    def load(self) -> None:
        """Copy, and load from the copy."""
        servable_id = self._data.id
        self._directory = tempfile.mkdtemp(prefix=f"topicserve-{servable_id.version}-")
        try:
            FsspecFileSystem().download(self._data.payload, self._directory)
            local = ServableData(servable_id, StoragePath(self._directory))
            loader = self._kind.adapt_one_version(local).payload
            loader.load_with_id(servable_id)
        except BaseException:
            self._remove_copy()
            raise
        self._loader = loader

    def unload(self) -> None:
        """Unload, and remove the copy."""
        loader, self._loader = self._loader, None
        try:
            if loader is not None:
                loader.unload()
        finally:
            self._remove_copy()

    def _remove_copy(self) -> None:
        directory, self._directory = self._directory, None
        if directory is not None:
            shutil.rmtree(directory, ignore_errors=True)


class LocalCopySourceAdapter(UnarySourceAdapter[StoragePath, Loader]):
    """Turns paths into a kind's loaders: those of URLs by way of a local copy."""

    def __init__(self, kind: SourceAdapter[StoragePath, Loader]) -> None:
        super().__init__()
        self._kind = kind

    def convert(self, data: ServableData[StoragePath]) -> Loader:
        """Return the loader."""
        if is_url(data.payload):
            return LocalCopyLoader(data, self._kind)
        return self._kind.adapt_one_version(data).payload
