"""An HTTP server that answers as a test says: well, badly or not at all."""

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Answer = Callable[[socket.socket], None]


def whole(body: bytes, *headers: str, status: str = "200 OK") -> Answer:
    """Answer with a body and its length."""
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return raw("\r\n".join([*head, "", ""]).encode() + body)


def raw(answer: bytes) -> Answer:
    """Answer with these bytes, and close."""

    def send(connection: socket.socket) -> None:
        connection.sendall(answer)

    return send


class BodyServer(socketserver.ThreadingTCPServer):
    """Answers GET by path; what is not known is 404."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.stopping = threading.Event()

    @property
    def url(self) -> str:
        """Return where it answers, without a slash at the end."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def hang(self, connection: socket.socket) -> None:
        """Answer nothing until the client goes or the test ends."""
        connection.settimeout(0.05)
        while not self.stopping.is_set():
            with suppress(TimeoutError):
                if not connection.recv(1):
                    return

    def endless(self, connection: socket.socket) -> None:
        """Answer with a body that has no end."""
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        with suppress(OSError):
            while not self.stopping.is_set():
                connection.sendall(b"x" * 65_536)

    def dripping(self, connection: socket.socket) -> None:
        """Answer with a body of which a byte comes now and then."""
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        with suppress(OSError):
            while not self.stopping.wait(0.01):
                connection.sendall(b"x")


class _Handler(socketserver.BaseRequestHandler):
    server: BodyServer

    def handle(self) -> None:
        received = b""
        while b"\r\n\r\n" not in received:
            more = self.request.recv(65_536)
            if not more:
                return
            received += more
        path = received.split(b" ", 2)[1].decode()
        self.server.asked.append(path)
        answer = self.server.answers.get(path, whole(b"", status="404 Not Found"))
        with suppress(OSError):
            answer(self.request)


@contextmanager
def a_body_server() -> Iterator[BodyServer]:
    """Serve until the block is left."""
    with BodyServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.stopping.set()
            server.shutdown()
            thread.join()
