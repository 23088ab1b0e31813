"""A TCP proxy whose destination can be changed: an address that stays while servers move."""

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress


class TcpProxy:
    """Carries bytes between anyone who connects to `address` and `target`, a host:port."""

    def __init__(self, address: str, target: str) -> None:
        self.address = address
        self.target = target


@contextmanager
def altering(target: str, texts: Mapping[bytes, bytes]) -> Iterator[str]:
    """Carry a broker's answers with other texts, as if its disk had them; yield the address.

    Each is as long as what it replaces. The broker's own port is replaced as well, so that clients
    that were told of it come back here; a port is four bytes of an answer.
    """
    texts = dict(texts)

    def alter(content: bytes) -> bytes:
        for old, new in texts.items():
            content = content.replace(old, new)
        return content

    with open_tcp_proxy(target, alter) as proxy:
        ports = (int(address.rpartition(":")[2]) for address in (target, proxy.address))
        old, new = (b"127.0.0.1" + port.to_bytes(4) for port in ports)
        texts[old] = new
        yield proxy.address


@contextmanager
def open_tcp_proxy(
    target: str, alter: Callable[[bytes], bytes] = lambda content: content
) -> Iterator[TcpProxy]:
    """Listen on a free port of loopback; `alter` changes what the target answers."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            host, _, port = proxy.target.rpartition(":")
            with suppress(OSError), socket.create_connection((host, int(port))) as server:
                back = threading.Thread(
                    target=_carry, args=(server, self.request, alter), daemon=True
                )
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


def _carry(
    source: socket.socket,
    destination: socket.socket,
    alter: Callable[[bytes], bytes] = lambda content: content,
) -> None:
    with suppress(OSError):
        while content := source.recv(65536):
            destination.sendall(alter(content))
    for end in (source, destination):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
