"""A TCP proxy whose destination can be changed: an address that stays while servers move."""

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class TcpProxy:
    """Carries bytes between anyone who connects to `address` and `target`, a host:port."""

    def __init__(self, address: str, target: str) -> None:
        self.address = address
        self.target = target


@contextmanager
def open_tcp_proxy(target: str) -> Iterator[TcpProxy]:
    """Listen on a free port of loopback."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            host, _, port = proxy.target.rpartition(":")
            with suppress(OSError), socket.create_connection((host, int(port))) as server:
                back = threading.Thread(target=_carry, args=(server, self.request), daemon=True)
                back.start()
                _carry(self.request, server)
                back.join()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Handler) as listener:
        host, port = listener.server_address[:2]
        proxy = TcpProxy(f"{host!s}:{port}", target)
        thread = threading.Thread(target=listener.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            listener.shutdown()
            thread.join()


def _carry(source: socket.socket, destination: socket.socket) -> None:
    with suppress(OSError):
        while content := source.recv(65536):
            destination.sendall(content)
    for end in (source, destination):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
