"""Bodies in what fsspec knows: object stores and others; needs the extra [fsspec].

Credentials and addresses are fsspec's own configuration: its files and environment variables.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from topicserve.backends.errors import BackendConfigError
from topicserve.backends.references.allow_list import Location
from topicserve.backends.references.client_errors import object_error
from topicserve.backends.references.errors import BodyNotFoundError, BodyStoreError
from topicserve.backends.references.reading import OpenBody, ReadLimits
from topicserve.errors import TopicserveError, error_text

OPEN_SECONDS = 10.0
"""For a file system that connects when it is opened."""
_INSTALL = "fsspec is not installed: pip install topicserve[fsspec]"


class _WholeBody:
    """A body that a file system gives at once: no more of it than was asked for."""

    def __init__(self, content: bytes, size_bytes: int) -> None:
        self._content = content
        self.size_bytes: int | None = size_bytes

    def read(self, max_bytes: int) -> bytes:  # noqa: ARG002 - it is in memory already
        content, self._content = self._content, b""
        return content


def file_system(location: Location) -> tuple[Any, str]:
    """Return fsspec's file system of a location, and the path that it is asked for.

    Some connect here, such as FTP's, and raise what their client does. fsspec keeps one of each for
    a thread. Raises BackendConfigError for a scheme that is unknown, or lacks a package or setting.
    """
    try:
        import fsspec
    except ImportError:
        raise BackendConfigError(f"{location.url}: {_INSTALL}") from None
    try:
        root = f"{location.scheme}://{location.host}/"
        kind = fsspec.get_filesystem_class(location.scheme)
        # Buckets are a part of the path; a host is a setting. Names are put behind the root as they
        # are: another reading of the URL would cut off a name with a question mark.
        files = kind(**kind._get_kwargs_from_urls(root))  # noqa: SLF001 - fsspec.core's own way
        base = str(kind._strip_protocol(root)).rstrip("/")  # noqa: SLF001 - the same
    except (ImportError, TypeError, ValueError) as error:
        raise BackendConfigError(f"{location.url}: {str(error) or error_text(error)}") from None
    return files, base + (location.path if location.names else "")


def has_host(location: Location) -> bool:
    """Return whether a URL names a host, whose file system has directories, and no bucket."""
    import fsspec

    kind = fsspec.get_filesystem_class(location.scheme)
    given = kind._get_kwargs_from_urls(f"{location.scheme}://{location.host}/")  # noqa: SLF001
    return "host" in given


def check_file_system(location: Location, timeout_seconds: float = OPEN_SECONDS) -> str | None:
    """Open a file system once; return why its server does not answer, None where it does.

    Raises BackendConfigError for what waiting does not change. Waits for no longer than given: one
    that hangs is left behind.
    """
    failure: list[Exception] = []
    opened = threading.Event()

    def open_once() -> None:
        try:
            file_system(location)
        except Exception as error:  # each file system raises what its client does
            failure.append(error)
        opened.set()

    threading.Thread(target=open_once, name="topicserve-store", daemon=True).start()
    if not opened.wait(timeout_seconds):
        return f"{location.url} did not answer within {timeout_seconds:g} s"
    if not failure:
        return None
    (error,) = failure
    if isinstance(error, BackendConfigError):
        raise error
    found = object_error(location.url, error)
    if isinstance(found, BodyStoreError) and isinstance(error, OSError | EOFError):
        return str(found)
    raise BackendConfigError(f"{location.url}: {error_text(error)}") from None


@contextmanager
def open_object(location: Location, limits: ReadLimits) -> Iterator[OpenBody]:
    """Read an object, its size first: no more of it is asked for than is allowed."""
    limits.remaining_seconds()
    try:
        content, size = _read(location, limits)
    except BackendConfigError as error:
        raise BodyStoreError(str(error)) from None  # it could be opened before
    except TopicserveError:
        raise
    except Exception as error:  # each file system raises what its client does
        raise object_error(location.url, error) from None
    yield _WholeBody(content, size)


def _read(location: Location, limits: ReadLimits) -> tuple[bytes, int]:
    files, path = file_system(location)
    found = files.info(path)
    size = found.get("size")
    if found.get("type", "file") != "file" or size is None:
        raise BodyNotFoundError(f"{location.url} is no object with a size")
    limits.count(size)
    # Stores refuse a range of nothing. One byte more shows an object that has grown.
    content = files.cat_file(path, start=0, end=size + 1) if size else b""
    return bytes(content), size


def bucket_of(location: Location) -> Location:
    """Return the bucket that a location lies in, or the root of its host."""
    return Location(location.scheme, location.host, (), "")


def probe_file_system(prefix: Location) -> str:
    """Return what a file system says of an allowed prefix.

    Raises BodyNotFoundError where it does not show the bucket, and ReferenceRefusedError where it
    tells nothing: who may read and write objects need not be allowed to list them. Raises
    BodyStoreError where its server does not answer.
    """
    if problem := check_file_system(prefix):
        raise BodyStoreError(problem)
    try:
        files, path = file_system(prefix)
        if files.exists(path):
            return "is there"
        is_bucket_there = files.exists(file_system(bucket_of(prefix))[1] or "/")
    except Exception as error:  # each file system raises what its client does
        raise object_error(prefix.url, error) from None
    if not is_bucket_there:
        raise BodyNotFoundError(f"{prefix.scheme}://{prefix.host} is not there, or may not be seen")
    return "can be asked, and has nothing there yet"
