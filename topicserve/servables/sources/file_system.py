"""What the sources see of a file system: children of a base path, files of a version."""

import hashlib
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from topicserve.redact import redact, redact_address, secrets_of
from topicserve.servables.core.errors import (
    InvalidArgumentError,
    ServableError,
    UnknownError,
    error_text,
)
from topicserve.servables.sources.regular_files import (
    MAX_FILES,
    open_regular_file,
    read_regular_file,
    walk_regular_files,
)


class FileEntry(NamedTuple):
    """One file under a version's directory."""

    path: str
    """Relative to the directory, with slashes."""
    size_bytes: int
    stamp: str
    """Changes whenever the content does."""
    changed_at: float | None
    """When it last changed, by the file system's wall clock; None where that is not known."""


class FileSystem(Protocol):
    """Reads directories. Any call may be slow; OSError and ServableError say what went wrong."""

    def list_directories(self, path: str) -> list[str]:
        """Return the names of the directories in one; InvalidArgumentError where it is missing."""

    def list_file_names(self, path: str) -> list[str]:
        """Return the names of the files in a directory itself; nothing where it is missing."""

    def list_files(self, path: str) -> list[FileEntry]:
        """Return all files under a directory, in order; nothing where it is missing.

        InvalidArgumentError where something else than files is there, or too many of them.
        """

    def read(self, path: str, max_bytes: int) -> bytes:
        """Return a small file's content; InvalidArgumentError where it is larger."""

    def sha256(self, path: str) -> str:
        """Return the digest of a file of any size, in hexadecimal digits."""

    def join(self, path: str, name: str) -> str:
        """Return the path of something in a directory."""


class LocalFileSystem:
    """Paths of this machine."""

    def list_directories(self, path: str) -> list[str]:
        """Return the names of the directories in one, links to directories included."""
        try:
            with os.scandir(path) as children:
                return sorted(child.name for child in children if _is_directory(child))
        except (FileNotFoundError, NotADirectoryError):
            raise missing_base_path(path) from None

    def list_file_names(self, path: str) -> list[str]:
        """Return the names of the files in a directory itself."""
        try:
            with os.scandir(path) as children:
                return sorted(child.name for child in children if not child.is_dir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def list_files(self, path: str) -> list[FileEntry]:
        """Return all files under a directory."""
        return sorted(
            # The change time, which no one can set: copying tools set the modification time of the
            # original before they have copied all.
            FileEntry(
                name,
                found.st_size,
                f"{found.st_ino} {found.st_mtime_ns} {found.st_ctime_ns}",
                found.st_ctime,
            )
            for name, found in walk_regular_files(path)
        )

    def read(self, path: str, max_bytes: int) -> bytes:
        """Return a file's content."""
        return read_regular_file(path, max_bytes)

    def sha256(self, path: str) -> str:
        """Return the digest of a file, read in pieces."""
        with open_regular_file(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def join(self, path: str, name: str) -> str:
        """Return the path of something in a directory."""
        return os.path.join(path, name)


@contextmanager
def _translated(url: str) -> Generator[None]:
    """Raise what a file system raises as ServableError, without the secrets of the URL."""
    try:
        yield
    except ServableError:
        raise
    except Exception as error:
        # Without its cause: a traceback would print the secrets.
        problem = redact(error_text(error), secrets_of(url))
        raise UnknownError(f"{redact_address(url)}: {problem}") from None


class FsspecFileSystem:
    """URLs that fsspec knows, such as s3://bucket/models; needs the extra [fsspec].

    What lies at a URL is listed again each time: fsspec's own caches would hide new versions.
    """

    def list_directories(self, path: str) -> list[str]:
        """Return the names of the directories in one; "directories" are what has children."""
        with _translated(path):
            try:
                return _children(path, "directory")
            except FileNotFoundError:
                raise missing_base_path(path) from None

    def list_file_names(self, path: str) -> list[str]:
        """Return the names of the files at a URL itself."""
        with _translated(path):
            try:
                return _children(path, "file")
            except FileNotFoundError:
                return []

    def list_files(self, path: str) -> list[FileEntry]:
        """Return all files under a URL."""
        with _translated(path):
            file_system, root = _open(path)
            file_system.invalidate_cache()
            found = file_system.find(root, detail=True)
            _refuse_strange(path, found)
            return sorted(
                FileEntry(
                    name.removeprefix(root.rstrip("/") + "/"),
                    info.get("size") or 0,
                    next((str(info[key]) for key in _STAMPS if info.get(key)), ""),
                    None,
                )
                for name, info in found.items()
            )

    def read(self, path: str, max_bytes: int) -> bytes:
        """Return a file's content."""
        with _translated(path):
            file_system, root = _open(path)
            content: bytes = file_system.cat_file(root, end=max_bytes + 1)
            if len(content) > max_bytes:
                shown = redact_address(path)
                raise InvalidArgumentError(f"{shown}: must have at most {max_bytes} bytes")
            return content

    def sha256(self, path: str) -> str:
        """Return the digest of an object, read in pieces."""
        with _translated(path):
            file_system, root = _open(path)
            with file_system.open(root, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()

    def join(self, path: str, name: str) -> str:
        """Return the URL of something under one."""
        return f"{path.rstrip('/')}/{name}"

    def download(self, path: str, local_path: str) -> None:
        """Copy all files under a URL into a local directory."""
        with _translated(path):
            file_system, root = _open(path)
            file_system.get(f"{root.rstrip('/')}/", f"{local_path}/", recursive=True)


# What file systems call the thing that changes with the content.
_STAMPS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "created")


def _children(url: str, kind: str) -> list[str]:
    file_system, root = _open(url)
    file_system.invalidate_cache()
    return sorted(
        child["name"].rstrip("/").rpartition("/")[2]
        for child in file_system.ls(root, detail=True)
        if child["type"] == kind
    )


def is_url(path: str) -> bool:
    """Return whether fsspec is needed for a path."""
    return "://" in path


def file_system_of(path: str) -> FileSystem:
    """Return what reads a path."""
    return FsspecFileSystem() if is_url(path) else LocalFileSystem()


def missing_base_path(path: str) -> InvalidArgumentError:
    """Return the error for a base path that is not there."""
    shown = redact_address(path)
    return InvalidArgumentError(
        f"base path {shown} is not a directory that can be read: create it, with one directory a "
        f"version in it (such as {shown.rstrip('/')}/1), or correct base_path"
    )


def _is_directory(child: "os.DirEntry[str]") -> bool:
    try:
        return child.is_dir()
    except OSError:  # a link that points to itself, say: the others are there all the same
        return False


def _refuse_strange(url: str, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise InvalidArgumentError for what must not be copied into a directory of this machine."""
    shown = redact_address(url)
    if len(found) > MAX_FILES:
        raise InvalidArgumentError(f"{shown}: must have at most {MAX_FILES} files")
    for name, info in found.items():
        # Object stores have files alone, but their names may be anything.
        if info.get("type", "file") != "file" or ".." in name.split("/"):
            raise InvalidArgumentError(f"{shown}: must have regular files alone, found {name}")


def _open(url: str) -> tuple[Any, str]:
    try:
        import fsspec.core
    except ImportError:
        raise InvalidArgumentError(
            f"base path {redact_address(url)} is a URL, and fsspec is not installed: "
            "pip install topicserve[fsspec]"
        ) from None
    try:
        file_system, root = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        problem = redact(str(error), secrets_of(url))
        raise InvalidArgumentError(f"base path {redact_address(url)}: {problem}") from None
    return file_system, root
