"""The embedded broker for tests: sockets that speak to it frame by frame, and its memory."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LIMIT_SECONDS = 20.0
_KIB = 1024


class RawClient:
    """A connection to a broker on which a test sends what it likes."""

    def __init__(self, bootstrap_servers: str) -> None:
        host, _, port = bootstrap_servers.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), LIMIT_SECONDS)

    def send(self, content: bytes) -> None:
        """Send bytes as they are."""
        self._socket.sendall(content)

    def ask(self, request: Any, version: int) -> Any:
        """Send one of kafka.protocol's requests and return the response."""
        self.send(a_frame(request, version))
        response_class = request.header.get_response_class()
        return response_class.decode(self.receive(), header=True)

    def receive(self) -> bytes:
        """Return the next frame, without its length."""
        return self._exactly(int.from_bytes(self._exactly(4), "big"))

    def finish(self) -> bytes:
        """Say that nothing more comes, and return whatever is still sent until the end."""
        content = b""
        try:
            self._socket.shutdown(socket.SHUT_WR)
            while chunk := self._socket.recv(1 << 16):
                content += chunk
        except OSError:
            pass  # the other side has closed it already
        return content

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _exactly(self, count: int) -> bytes:
        content = b""
        while len(content) < count:
            chunk = self._socket.recv(count - len(content))
            if not chunk:
                raise ConnectionResetError("the broker has closed the connection")
            content += chunk
        return content


@contextmanager
def raw_client(bootstrap_servers: str) -> Iterator[RawClient]:
    """Open a connection for a test."""
    client = RawClient(bootstrap_servers)
    try:
        yield client
    finally:
        client.close()


def a_frame(request: Any, version: int) -> bytes:
    """Return a request as it goes over the wire."""
    request.API_VERSION = version
    request.with_header(correlation_id=1, client_id="test")
    return bytes(request.encode(header=True, framed=True))


def resident_bytes(pid: int) -> int:
    """Return how much memory a process holds."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * _KIB
    raise AssertionError(f"process {pid} has ended")
