"""A file system of fsspec that does for each body what a test says."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import fsspec

BODY = b'{"instance": 1.0}'
SCHEME = "scripted"
PREFIX = f"{SCHEME}://bodies"


class ScriptedStore(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """Answers with bytes, or calls what is there in their place, which may raise or wait."""

    protocol = SCHEME
    cachable = False
    bodies: Mapping[str, bytes | Callable[[], bytes]] = {}
    asked: Counter[str] = Counter()  # noqa: RUF012
    at_once = 0
    most_at_once = 0
    lock = threading.Lock()

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        name = path.rpartition("/")[2]
        with self.lock:
            ScriptedStore.asked[name] += 1
            ScriptedStore.at_once += 1
            ScriptedStore.most_at_once = max(self.most_at_once, self.at_once)
        try:
            found = self._body(name)
        finally:
            with self.lock:
                ScriptedStore.at_once -= 1
        return {"name": path, "size": len(found), "type": "file", "content": found}

    def cat_file(self, path: str, start: int = 0, end: int | None = None, **_: Any) -> bytes:
        found = self.bodies[path.rpartition("/")[2]]
        return (found if isinstance(found, bytes) else BODY)[start:end]

    def _body(self, name: str) -> bytes:
        try:
            found = self.bodies[name]
        except KeyError:
            raise FileNotFoundError(name) from None
        return found if isinstance(found, bytes) else found()


# At once: a fixture may open the scheme before any test has said what lies there.
fsspec.register_implementation(SCHEME, ScriptedStore, clobber=True)


def scripted(bodies: Mapping[str, bytes | Callable[[], bytes]]) -> type[ScriptedStore]:
    """Have the store hold these bodies, and return what it has been asked."""
    ScriptedStore.bodies = bodies
    ScriptedStore.asked = Counter()
    ScriptedStore.at_once = ScriptedStore.most_at_once = 0
    return ScriptedStore


def a_store_with(bodies: Mapping[str, bytes | Callable[[], bytes]]) -> str:
    """Have the store hold these bodies, and return the prefix that they lie under."""
    scripted(bodies)
    return PREFIX
