"""Bodies in what fsspec knows: object stores and others; needs the extra [fsspec].

Credentials and addresses are fsspec's own configuration: its files and environment variables.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from topicserve.backends.errors import BackendConfigError
from topicserve.backends.references.allow_list import Location
from topicserve.backends.references.client_errors import object_error
from topicserve.backends.references.errors import BodyNotFoundError
from topicserve.backends.references.reading import OpenBody, ReadLimits
from topicserve.errors import TopicserveError, error_text

_INSTALL = "fsspec is not installed: pip install topicserve[fsspec]"


class _WholeBody:
    """A body that a file system gives at once: no more of it than was asked for."""

    def __init__(self, content: bytes, size_bytes: int) -> None:
        self._content = content
        self.size_bytes: int | None = size_bytes

    def read(self, max_bytes: int) -> bytes:  # noqa: ARG002 - it is in memory already
        content, self._content = self._content, b""
        return content


def file_system(scheme: str) -> Any:
    """Return fsspec's file system of a scheme, or raise BackendConfigError saying what is missing.

    Does not connect; fsspec keeps one of each.
    """
    try:
        import fsspec
    except ImportError:
        raise BackendConfigError(f"{scheme}: {_INSTALL}") from None
    try:
        return fsspec.filesystem(scheme)
    # Each has settings of its own, and raises what it likes where one is missing.
    except Exception as error:
        raise BackendConfigError(f"{scheme}: {error_text(error)}") from None


@contextmanager
def open_object(location: Location, limits: ReadLimits) -> Iterator[OpenBody]:
    """Read an object, its size first: no more of it is asked for than is allowed."""
    limits.remaining_seconds()
    try:
        content, size = _read(location, limits)
    except TopicserveError:
        raise
    except Exception as error:  # each file system raises what its client does
        raise object_error(location.url, error) from None
    yield _WholeBody(content, size)


def _read(location: Location, limits: ReadLimits) -> tuple[bytes, int]:
    files = file_system(location.scheme)
    path = path_of(location)
    found = files.info(path)
    size = found.get("size")
    if found.get("type", "file") != "file" or size is None:
        raise BodyNotFoundError(f"{location.url} is no object with a size")
    limits.count(size)
    # Stores refuse a range of nothing. One byte more shows an object that has grown.
    content = files.cat_file(path, start=0, end=size + 1) if size else b""
    return bytes(content), size


def path_of(location: Location) -> str:
    """Return the path that a file system is asked for."""
    return f"{location.host}{location.path}"


def probe_file_system(prefix: Location) -> str:
    """Return what a file system says of an allowed prefix.

    Raises BodyNotFoundError where it does not show the bucket, and ReferenceRefusedError where it
    tells nothing: who may read and write objects need not be allowed to list them.
    """
    files = file_system(prefix.scheme)
    try:
        if files.exists(path_of(prefix)):
            return "is there"
        is_bucket_there = files.exists(prefix.host)
    except Exception as error:  # each file system raises what its client does
        raise object_error(prefix.url, error) from None
    if not is_bucket_there:
        raise BodyNotFoundError(f"{prefix.scheme}://{prefix.host} is not there, or may not be seen")
    return "can be asked, and has nothing there yet"
