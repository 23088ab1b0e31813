"""A file system of fsspec that is opened with a host and connects then, as FTP's does."""

from collections.abc import Callable
from typing import Any

import fsspec
from fsspec.utils import infer_storage_options

SCHEME = "hosted"


def _connected(_: str) -> None:
    """Stand for a server that answers."""


class HostedStore(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """Keeps files by host and path; a directory must be made before a file in it is written."""

    protocol = SCHEME
    cachable = False
    files: dict[tuple[str, str], bytes] = {}  # noqa: RUF012
    directories: set[tuple[str, str]] = set()  # noqa: RUF012
    connect: Callable[[str], object] = staticmethod(_connected)

    def __init__(self, host: str, **_: Any) -> None:
        super().__init__()
        self.host = host
        type(self).connect(host)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + str(infer_storage_options(path)["path"]).strip("/")

    @staticmethod
    def _get_kwargs_from_urls(url: str) -> dict[str, object]:
        return {"host": infer_storage_options(url)["host"]}

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        if path == "/" or (self.host, path) in self.directories:
            return {"name": path, "size": 0, "type": "directory"}
        try:
            found = self.files[self.host, path]
        except KeyError:
            raise FileNotFoundError(path) from None
        return {"name": path, "size": len(found), "type": "file"}

    def cat_file(self, path: str, start: int = 0, end: int | None = None, **_: Any) -> bytes:
        return self.files[self.host, path][start:end]

    def makedirs(self, path: str, exist_ok: bool = False) -> None:  # noqa: ARG002
        self.directories.add((self.host, path))

    def pipe_file(self, path: str, value: bytes, **_: Any) -> None:
        if (self.host, path.rpartition("/")[0]) not in self.directories:
            raise ValueError("553 no such directory")
        self.files[self.host, path] = value


fsspec.register_implementation(SCHEME, HostedStore, clobber=True)


def a_hosted_store(connect: Callable[[str], object] = _connected) -> type[HostedStore]:
    """Return the store, empty, with this in the place of a connection."""
    HostedStore.files, HostedStore.directories = {}, set()
    HostedStore.connect = staticmethod(connect)
    return HostedStore
