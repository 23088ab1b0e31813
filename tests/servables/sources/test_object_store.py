"""Versions in an object store, here fsspec's own in memory."""

import os
from collections.abc import Iterator

import pytest

from tests.support.servables.streams import Heard, a_path
from topicserve.servables.core.errors import InvalidArgumentError, NotFoundError
from topicserve.servables.core.loader import Loader
from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.resources.resource_allocation import main_ram
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.simple_loader import SimpleLoaderSourceAdapter
from topicserve.servables.core.source import connect_source_to_target
from topicserve.servables.core.storage_path import StoragePath
from topicserve.servables.sources.completeness import CompletenessOptions
from topicserve.servables.sources.file_system import FsspecFileSystem, file_system_of
from topicserve.servables.sources.file_system_storage_path_source import (
    FileSystemStoragePathSource,
    FileSystemStoragePathSourceConfig,
)
from topicserve.servables.sources.local_copy_loader import LocalCopySourceAdapter
from topicserve.servables.sources.monitored_servable import ServableToMonitor

fsspec = pytest.importorskip("fsspec")

BASE = "memory://models/digits"


@pytest.fixture(autouse=True)
def store() -> Iterator[None]:
    """Leave the store as empty as it was."""
    yield
    fsspec.filesystem("memory").store.clear()


def put(name: str, content: str) -> None:
    """Write an object."""
    fsspec.filesystem("memory").pipe_file(f"/models/digits/{name}", content.encode())


def test_versions_are_found_like_directories() -> None:
    """Objects beside them are none, and a version is complete when it has come to rest."""
    put("1/model", "one")
    put("2/assets/table", "two")
    put("3", "not a version")
    config = FileSystemStoragePathSourceConfig(
        (ServableToMonitor("digits", BASE),),
        file_system_poll_wait_seconds=-1,
        completeness=CompletenessOptions(scan_interval_seconds=0),
    )
    source, target = FileSystemStoragePathSource(config), Heard[StoragePath]()
    connect_source_to_target(source, target)

    source.poll()
    before = target.take()
    source.poll()

    assert before == []
    assert target.calls == [("digits", [a_path("digits", 2, f"{BASE}/2")])]


def test_a_base_path_that_is_not_there_is_an_error() -> None:
    """As on disk."""
    with pytest.raises(InvalidArgumentError, match="memory://models/none"):
        file_system_of("memory://models/none").list_directories("memory://models/none")


def test_an_unknown_kind_of_url_is_an_error_that_names_it() -> None:
    """No traceback of fsspec's."""
    with pytest.raises(InvalidArgumentError, match="nosuch://bucket"):
        file_system_of("nosuch://bucket").list_directories("nosuch://bucket/models")


def test_files_are_listed_with_what_tells_a_change() -> None:
    """A new object of the same size differs from the old one."""
    put("1/model", "one")
    before = FsspecFileSystem().list_files(f"{BASE}/1")
    put("1/model", "two")

    after = FsspecFileSystem().list_files(f"{BASE}/1")

    assert [(one.path, one.size_bytes) for one in before] == [("model", 3)]
    assert before != after


class Reading:
    """What a kind reads from a version's directory."""

    def __init__(self, path: StoragePath) -> None:
        with open(os.path.join(path, "assets", "table")) as table:
            self.content = table.read()
        self.path = path


def the_loader() -> Loader:
    """Return a loader of version 2, by way of a local copy."""
    put("2/assets/table", "two")
    kind = SimpleLoaderSourceAdapter(Reading, lambda _: main_ram(100))
    adapter = LocalCopySourceAdapter(kind)
    return adapter.adapt_one_version(a_path("digits", 2, f"{BASE}/2")).payload


def test_a_version_is_loaded_from_a_local_copy_that_goes_with_it() -> None:
    """The kind sees a directory like any other; nothing is copied before the load."""
    loader = the_loader()
    before = loader.estimate_resources()

    loader.load_with_id(ServableId("digits", 2))
    servable, path = loader.servable, loader.servable.path
    after = loader.estimate_resources()
    loader.unload()

    assert servable.content == "two"
    assert not os.path.exists(path)
    assert loader.servable is None
    assert (before, after) == (main_ram(3), main_ram(100))


def test_a_load_that_fails_leaves_no_copy(monkeypatch: pytest.MonkeyPatch, tmp_path: str) -> None:
    """And can be tried again."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    loader = the_loader()
    fsspec.filesystem("memory").rm("/models/digits/2/assets/table")
    put("2/other", "not what the kind reads")

    with pytest.raises(FileNotFoundError):
        loader.load_with_id(ServableId("digits", 2))
    assert os.listdir(tmp_path) == []
    put("2/assets/table", "two")
    loader.load_with_id(ServableId("digits", 2))

    assert loader.servable.content == "two"
    loader.unload()


def test_local_paths_and_errors_go_straight_through() -> None:
    """Without a copy."""
    kind = SimpleLoaderSourceAdapter(lambda path: f"from {path}")
    adapter = LocalCopySourceAdapter(kind)
    error = NotFoundError("gone")

    local = adapter.adapt_one_version(a_path("digits", 2, "/models/2")).payload
    local.load_with_id(ServableId("digits", 2))
    failed = adapter.adapt_one_version(ServableData.failed(ServableId("digits", 3), error))

    assert local.servable == "from /models/2"
    assert failed.error is error
