"""Versions in an object store, here fsspec's own in memory."""

import os
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.servables.streams import Heard, a_path
from topicserve.servables.core.errors import InvalidArgumentError, NotFoundError, ServableError
from topicserve.servables.core.loader import Loader
from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.resources.resource_allocation import main_ram
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.simple_loader import SimpleLoaderSourceAdapter
from topicserve.servables.core.source import connect_source_to_target
from topicserve.servables.core.storage_path import StoragePath
from topicserve.servables.server.config_checks import check_base_paths
from topicserve.servables.server.servable_config import ServableConfig
from topicserve.servables.sources.completeness import CompletenessOptions
from topicserve.servables.sources.file_system import FsspecFileSystem, file_system_of
from topicserve.servables.sources.file_system_storage_path_source import (
    FileSystemStoragePathSource,
    FileSystemStoragePathSourceConfig,
)
from topicserve.servables.sources.local_copy_loader import LocalCopySourceAdapter
from topicserve.servables.sources.monitored_servable import MonitoredServable, ServableToMonitor

fsspec = pytest.importorskip("fsspec")
AbstractFileSystem: Any = fsspec.AbstractFileSystem

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


SECRET = "hunter2"


class Refusing(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A store whose errors name all that it was given."""

    protocol = "refusing"

    def __init__(self, url: str = "", **options: object) -> None:
        super().__init__(**options)
        self.url = url

    @classmethod
    def _get_kwargs_from_urls(cls, path: str) -> dict[str, str]:
        return {"url": path}

    def ls(self, path: str, detail: bool = True, **options: object) -> list[str]:  # noqa: ARG002
        """Refuse."""
        user, _, rest = self.url.partition("://")[2].partition("@")
        raise RuntimeError(f"denied: {self.url}; {user.partition(':')[2]} {rest.split('?')[1]}")


@pytest.mark.parametrize("method", ["list_directories", "list_files", "sha256"])
@pytest.mark.parametrize("scheme", ["refusing", "nosuch", "memory"])
def test_no_error_shows_the_secrets_of_a_url(method: str, scheme: str) -> None:
    """Whatever a store raises, it is an error of ours, and neither it nor its traceback tells."""
    fsspec.register_implementation("refusing", Refusing, clobber=True)
    url = f"{scheme}://{SECRET}:{SECRET}@bucket/models?signature={SECRET}"

    try:
        getattr(file_system_of(url), method)(url)
    except ServableError as error:
        told = "".join(traceback.format_exception(error))
        assert scheme in told
        assert SECRET not in told.replace(f'SECRET = "{SECRET}"', "")
    else:
        assert (scheme, method) == ("memory", "list_files")


@pytest.mark.parametrize("scheme", ["refusing", "nosuch", "memory"])
def test_neither_the_start_nor_the_log_shows_the_secrets_of_a_base_path(
    scheme: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The error at the start, and what each look for versions says."""
    fsspec.register_implementation("refusing", Refusing, clobber=True)
    url = f"{scheme}://user:{SECRET} x/@bucket/models?signature={SECRET}"
    monitored = MonitoredServable(
        ServableToMonitor("digits", url),
        CompletenessOptions(stable_scans=1),
        lambda *_: None,
        versions_always_present=False,
    )

    with pytest.raises(InvalidArgumentError, match="servable digits") as at_start:
        check_base_paths([ServableConfig("digits", url, "hashmap")])
    with pytest.raises(ServableError) as at_a_look:
        monitored.poll()

    assert SECRET not in f"{at_start.value} {at_a_look.value} {caplog.text}"
    assert "digits" in caplog.text


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
