"""Bodies in files of this machine, wherever symbolic links lead."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from topicserve.backends.references.allow_list import Location
from topicserve.backends.references.client_errors import path_error
from topicserve.backends.references.errors import BodyNotFoundError, ReferenceRefusedError
from topicserve.backends.references.reading import OpenBody, ReadLimits


class _OpenFile:
    def __init__(self, descriptor: int, size_bytes: int) -> None:
        self._descriptor = descriptor
        self.size_bytes: int | None = size_bytes

    def read(self, max_bytes: int) -> bytes:
        return os.read(self._descriptor, max_bytes)


@contextmanager
def open_file(location: Location, limits: ReadLimits) -> Iterator[OpenBody]:
    """Open a regular file, if it truly lies under the allowed prefix."""
    limits.remaining_seconds()
    try:
        # A pipe would wait for its writer, and a terminal become the worker's own.
        descriptor = os.open(
            location.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        )
    except OSError as error:
        raise path_error(location.url, error) or error from None
    try:
        found = os.fstat(descriptor)
        _check_place(location, descriptor, found)
        if not stat.S_ISREG(found.st_mode):
            raise BodyNotFoundError(f"{location.url} is no regular file")
        yield _OpenFile(descriptor, found.st_size)
    finally:
        os.close(descriptor)


def _check_place(location: Location, descriptor: int, found: os.stat_result) -> None:
    """Refuse a file outside of the prefix, whatever links were changed meanwhile."""
    root = os.path.realpath("/" if location.prefix is None else location.prefix.path)
    real = Path(_real_path(location, descriptor, found))
    if not real.is_relative_to(root):
        raise ReferenceRefusedError(f"{location.url} is a link out of its prefix")


def _real_path(location: Location, descriptor: int, found: os.stat_result) -> str:
    """Return where an open file lies."""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")  # the file itself, not a name of it
    except OSError:
        real = os.path.realpath(location.path)
        if os.path.samestat(os.stat(real, follow_symlinks=False), found):
            return real
        raise ReferenceRefusedError(f"{location.url} changed while it was opened") from None


def probe_directory(prefix: Location) -> str:
    """Return what is to be said of an allowed directory."""
    if not os.path.isdir(prefix.path):
        raise BodyNotFoundError(f"{prefix.url} is no directory")
    if not os.access(prefix.path, os.R_OK | os.X_OK):
        raise ReferenceRefusedError(f"{prefix.url} may not be read by this process")
    return "is a directory"
