"""Reads what a URL refers to, with what its scheme asks for."""

from collections.abc import Iterable

from topicserve.backends.references.allow_list import FILE, HTTP, HTTPS, AllowList, Location
from topicserve.backends.references.local_files import open_file, probe_directory
from topicserve.backends.references.object_stores import (
    check_file_system,
    open_object,
    probe_file_system,
)
from topicserve.backends.references.reading import Open, ReadLimits, check_hash, read_body
from topicserve.backends.references.web import open_response, probe_server

_OWN: dict[str, Open] = {FILE: open_file, HTTP: open_response, HTTPS: open_response}
LIMITED_SCHEMES = frozenset(_OWN)
"""Schemes whose reads keep to their limits of time; a file system of fsspec may not return."""


def check_readable(prefix: Location) -> str | None:
    """Raise BackendConfigError for a prefix that nothing can be read under.

    Returns why a server does not answer that is asked where its file system is opened, else None.
    """
    return None if prefix.scheme in _OWN else check_file_system(prefix)


class BodyStores:
    """The stores that bodies may be read from. Any thread may use it."""

    def __init__(self, allow: Iterable[str]) -> None:
        """Allow these prefixes; raises ReferenceRefusedError for one that cannot be one."""
        self.allow_list = AllowList(allow)

    def prepare(self) -> None:
        """Load what the schemes need; raises BackendConfigError where it is not installed.

        A server that does not answer is waited for when something is read.
        """
        for prefix in self.allow_list.prefixes:
            check_readable(prefix)

    def probe(self, prefix: Location, timeout_seconds: float) -> str:
        """Ask a store whether it can be read, and return what it says.

        Raises one of `errors`, or BackendConfigError. For `topicserve check`.
        """
        limits = ReadLimits(1, timeout_seconds)
        match prefix.scheme:
            case "file":
                return probe_directory(prefix)
            case "http" | "https":
                return probe_server(prefix, limits)
            case _:
                return probe_file_system(prefix)

    def locate(self, url: str) -> Location:
        """Return where a URL leads; raises ReferenceRefusedError where it is not allowed."""
        return self.allow_list.locate(url)

    def read(self, location: Location, sha256: str | None, limits: ReadLimits) -> bytes:
        """Return the body at an allowed place; raises one of `errors`. Blocks within the limits.

        A file system of fsspec may block for as long as its own settings say.
        """
        body = read_body(_OWN.get(location.scheme, open_object), location, limits)
        check_hash(body, sha256)
        return body
