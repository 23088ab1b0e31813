import os
from pathlib import Path
from typing import Any

import fsspec
import pytest

from topicserve.backends.errors import BackendConfigError
from topicserve.backends.references.allow_list import Location, read_prefix
from topicserve.backends.references.errors import StoreRefusedError
from topicserve.backends.references.writing import check_writable, write_body

BODY = b"a result"


def a_place(prefix: str) -> Location:
    """Return where a body is stored under a prefix."""
    return read_prefix(prefix).below("out", "a")


def test_a_body_is_written_whole_in_the_place_of_another(tmp_path: Path) -> None:
    """Nothing else is left in its directory, which is made."""
    for body in (b"before", BODY):
        write_body(a_place(f"file://{tmp_path}/new"), body)

    assert [path.read_bytes() for path in (tmp_path / "new/out").iterdir()] == [BODY]


@pytest.mark.parametrize("name", ["", "out", "out/a"])
def test_a_place_that_something_else_has_refuses(tmp_path: Path, name: str) -> None:
    """A file where a directory is wanted, or a directory where the file is."""
    wrong = tmp_path / "results" / name
    if name == "out/a":
        wrong.mkdir(parents=True)
    else:
        wrong.parent.mkdir(parents=True, exist_ok=True)
        wrong.write_bytes(b"")

    with pytest.raises(StoreRefusedError):
        write_body(a_place(f"file://{tmp_path}/results"), BODY)


def test_a_topic_that_is_a_link_out_of_its_prefix_refuses(tmp_path: Path) -> None:
    """No reader follows it; one to another place under the prefix is a directory like any other."""
    results, elsewhere = tmp_path / "results", tmp_path / "elsewhere"
    for directory in (results / "other", elsewhere):
        directory.mkdir(parents=True)
    (tmp_path / "link").symlink_to(results)

    (results / "out").symlink_to(elsewhere)
    with pytest.raises(StoreRefusedError, match=r"a link out of .*/results, which no reader"):
        write_body(a_place(f"file://{results}"), BODY)
    assert not any(elsewhere.iterdir())

    (results / "out").unlink()
    (results / "out").symlink_to(results / "other")
    write_body(a_place(f"file://{tmp_path}/link"), BODY)
    assert (results / "other/a").read_bytes() == BODY


class Buckets(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """An object store, or one with directories, that only takes objects."""

    protocol = "buckets"
    cachable = False
    has_directories = False
    there: set[str] = set()  # noqa: RUF012
    objects: dict[str, bytes] = {}  # noqa: RUF012

    def exists(self, path: str, **_: Any) -> bool:
        return path in self.there

    def makedirs(self, path: str, exist_ok: bool = False) -> None:  # noqa: ARG002
        self.there.update((path, path.partition("/")[0]))

    def pipe_file(self, path: str, value: bytes, **_: Any) -> None:
        parent = path.rpartition("/")[0] if self.has_directories else path.partition("/")[0]
        if parent not in self.there:
            raise FileNotFoundError(path)
        self.objects[path] = value


@pytest.fixture(name="buckets")
def some_buckets() -> type[Buckets]:
    """Return a store with one bucket."""
    fsspec.register_implementation("buckets", Buckets, clobber=True)
    Buckets.there, Buckets.objects = {"bucket"}, {}
    Buckets.has_directories = False
    return Buckets


@pytest.mark.parametrize("has_directories", [False, True])
def test_an_object_is_written(buckets: type[Buckets], has_directories: bool) -> None:
    """With its directories, where a file system has such."""
    buckets.has_directories = has_directories

    write_body(a_place("buckets://bucket/large"), BODY)

    assert buckets.objects == {"bucket/large/out/a": BODY}


def test_a_bucket_that_is_missing_is_not_made(buckets: type[Buckets]) -> None:
    """Its name may be wrong; where it lies, and who may read it, is its owner's to say."""
    with pytest.raises(StoreRefusedError, match="there is no buckets://other"):
        write_body(a_place("buckets://other/large"), BODY)

    assert buckets.there == {"bucket"}


def test_who_may_only_write_objects_stores_them(
    buckets: type[Buckets], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is listed, and no bucket asked for, that need not be."""

    def denied(*_: object, **__: object) -> bool:
        raise PermissionError("Access Denied")

    for name in ("exists", "makedirs", "info", "ls"):
        monkeypatch.setattr(buckets, name, denied)

    write_body(a_place("buckets://bucket/large"), BODY)

    assert buckets.objects == {"bucket/large/out/a": BODY}


def test_a_place_that_can_never_be_written_to_is_told_at_the_start(tmp_path: Path) -> None:
    """A web server, a file system that is not installed, a file where a directory is wanted."""
    (tmp_path / "file").write_bytes(b"")

    for prefix, problem in {
        "https://host/large": "use a store or file",
        "nosuch://bucket/large": "nosuch",
        f"file://{tmp_path}/file/large": f"{tmp_path}/file is no directory",
    }.items():
        with pytest.raises(BackendConfigError, match=problem):
            check_writable(read_prefix(prefix))
    check_writable(read_prefix(f"file://{tmp_path}/not/yet"))


def test_a_directory_without_the_right_to_write_is_told_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first result that is too large."""
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere

    with pytest.raises(BackendConfigError, match=f"may not write to {tmp_path}"):
        check_writable(read_prefix(f"file://{tmp_path}/large"))
