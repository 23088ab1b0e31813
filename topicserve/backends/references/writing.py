"""Writes bodies where readers of their URLs will find them: whole, or not at all."""

import os
import threading
from pathlib import Path

from topicserve.backends.errors import BackendConfigError
from topicserve.backends.references.allow_list import FILE, HTTP, HTTPS, Location
from topicserve.backends.references.object_stores import file_system, path_of


def write_body(location: Location, body: bytes) -> None:
    """Write a body, in the place of one that may be there.

    Raises OSError, or what a file system's client raises; it may be called again then.
    """
    if location.scheme == FILE:
        _write_file(Path(location.path), body)
        return
    files, path = file_system(location.scheme), path_of(location)
    files.makedirs(path.rpartition("/")[0], exist_ok=True)
    files.pipe_file(path, body)


def check_writable(location: Location) -> None:
    """Raise BackendConfigError for a place that nothing can be written to."""
    if location.scheme in (HTTP, HTTPS):
        raise BackendConfigError(f"{location.url} cannot be written to: use a store or file:")
    if location.scheme != FILE:
        file_system(location.scheme)


def _write_file(path: Path, body: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two threads may write the same: each has a file of its own until it is whole.
    unfinished = path.with_name(f".{path.name[:200]}.{os.getpid()}-{threading.get_ident()}")
    try:
        with unfinished.open("wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())  # the record that refers to it may be acknowledged next
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
