"""A Redis-protocol server that answers with the bytes it is told to."""

import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BufferedIOBase

Answer = Callable[[list[bytes]], bytes]
"""Returns the reply to a command, as RESP."""

GREETINGS = {
    b"HELLO": b"%1\r\n$5\r\nproto\r\n:3\r\n",
    b"CLIENT": b"+OK\r\n",
    b"SELECT": b"+OK\r\n",
}


@contextmanager
def open_resp_server(answer: Answer, greetings: Mapping[bytes, bytes] = GREETINGS) -> Iterator[str]:
    """Serve on a free port of loopback and give the URL; redis-py's own greeting is answered."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while (command := _read_command(self.rfile)) is not None:
                self.wfile.write(greetings.get(command[0].upper()) or answer(command))

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"redis://127.0.0.1:{server.server_address[1]}/0"
        finally:
            server.shutdown()
            thread.join()


def _read_command(stream: BufferedIOBase) -> list[bytes] | None:
    line = stream.readline()
    if not line.startswith(b"*"):
        return None
    words = []
    for _ in range(int(line[1:])):
        length = int(stream.readline()[1:])
        words.append(stream.read(length))
        stream.read(2)
    return words
