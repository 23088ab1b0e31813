"""Writes bodies where readers of their URLs will find them: whole, or not at all."""

import os
import threading
from pathlib import Path

from topicserve.backends.errors import BackendConfigError
from topicserve.backends.references.allow_list import FILE, HTTP, HTTPS, Location
from topicserve.backends.references.client_errors import write_error
from topicserve.backends.references.object_stores import (
    bucket_of,
    check_file_system,
    file_system,
    has_host,
    probe_file_system,
)


def write_body(location: Location, body: bytes) -> None:
    """Write a body, in the place of one that may be there.

    Raises BodyStoreError for what may pass, and StoreRefusedError for what may not. Blocks for as
    long as a file system does.
    """
    try:
        if location.scheme == FILE:
            _write_file(location, body)
        else:
            _write_object(location, body)
    except Exception as error:  # each file system raises what its client does
        raise write_error(error) from None


def check_writable(location: Location) -> str | None:
    """Raise BackendConfigError for a place that nothing can be written to.

    Returns why a server does not answer that is asked where its file system is opened, else None.
    """
    if problem := _lasting_problem(location):
        raise BackendConfigError(f"{location.url} cannot be written to: {problem}")
    return None if location.scheme == FILE else check_file_system(location)


def probe_writable(location: Location) -> str:
    """Return what is to be said of a place to write to; nothing is written.

    Raises one of `errors`, or BackendConfigError. For `topicserve check`.
    """
    if problem := _lasting_problem(location):
        raise BackendConfigError(f"{location.url} cannot be written to: {problem}")
    if location.scheme != FILE:
        return probe_file_system(location)
    is_there = Path(location.path).is_dir()
    return "is a directory" if is_there else "is made when a result is stored"


def _lasting_problem(location: Location) -> str | None:
    """Return why nothing can ever be written there; None where nothing is known."""
    if location.scheme in (HTTP, HTTPS):
        return "use a store or file:"
    return _directory_problem(Path(location.path)) if location.scheme == FILE else None


def _directory_problem(path: Path) -> str | None:
    """Return why a directory cannot be made, or written to; None where nothing is known."""
    while not os.path.lexists(path):
        path = path.parent
    if not path.is_dir():
        return f"{path} is no directory"
    if not os.access(path, os.W_OK | os.X_OK):
        return f"this process may not write to {path}"
    return None


def _write_object(location: Location, body: bytes) -> None:
    files, path = file_system(location)
    directory = path.rpartition("/")[0]
    if has_host(location):
        files.makedirs(directory, exist_ok=True)
    try:
        files.pipe_file(path, body)
    except FileNotFoundError:
        # Nearly always the directory; but no bucket is made: its name may be wrong, and its region,
        # its owner's rights and its expiry are not ours to choose.
        if not files.exists(file_system(bucket_of(location))[1] or "/"):
            raise FileNotFoundError(f"there is no {location.scheme}://{location.host}") from None
        files.makedirs(directory, exist_ok=True)
        files.pipe_file(path, body)


def _write_file(location: Location, body: bytes) -> None:
    path = Path(location.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    root = path.parent if location.prefix is None else Path(location.prefix.path)
    if not path.parent.resolve().is_relative_to(root.resolve()):
        raise PermissionError(f"{path.parent} is a link out of {root}, which no reader follows")
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
