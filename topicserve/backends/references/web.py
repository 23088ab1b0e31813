"""Bodies behind HTTP and HTTPS, without redirects, proxies and credentials.

Python's own client is used, not fsspec's: that one follows redirects, and reads what it is sent
without a limit of time.
"""

import functools
import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from topicserve.backends.references.allow_list import HTTPS, Location
from topicserve.backends.references.errors import (
    BodyNotFoundError,
    BodyStoreError,
    BrokenAnswerError,
    ReferenceRefusedError,
)
from topicserve.backends.references.reading import OpenBody, ReadLimits

_HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "topicserve"}
_NOT_FOUND = (404, 410)
# The server asks for patience: too early, too many requests, timeout.
_LATER = (408, 425, 429)


class _OpenResponse:
    def __init__(
        self, response: http.client.HTTPResponse, sock: socket.socket, limits: ReadLimits
    ) -> None:
        self._response = response
        self._sock = sock
        self._limits = limits
        self.size_bytes: int | None = response.length

    def read(self, max_bytes: int) -> bytes:
        self._sock.settimeout(self._limits.remaining_seconds())
        try:
            return self._response.read1(max_bytes)  # what has come, not all of it
        except http.client.HTTPException as error:
            kind = BodyStoreError if _is_cut_off(error) else BrokenAnswerError
            raise kind(f"the body was cut off: {error!r}") from None


class _Idle(threading.local):
    """This thread's connections that wait for their next request, by scheme and host."""

    def __init__(self) -> None:
        self.by_server: dict[tuple[str, str], http.client.HTTPConnection] = {}


_idle = _Idle()


@contextmanager
def open_response(location: Location, limits: ReadLimits) -> Iterator[OpenBody]:
    """Ask for a body, and read no further than its status and headers.

    A connection is kept for the thread's next request where the body was read to its end.
    """
    server = location.scheme, location.host
    kept = _idle.by_server.pop(server, None)
    connection = _connection(location, limits.remaining_seconds()) if kept is None else kept
    try:
        try:
            response, sock = _ask(connection, location, limits)
        except (http.client.HTTPException, OSError):
            if kept is None:
                raise
            # The server has ended the connection meanwhile: that says nothing of this request.
            connection.close()
            connection = _connection(location, limits.remaining_seconds())
            response, sock = _ask(connection, location, limits)
        _check_response(location, response)
        yield _OpenResponse(response, sock, limits)
        # It has no socket where the server ends the connection with its answer.
        if connection.sock is not None and (response.isclosed() or response.length == 0):
            response.close()
            _idle.by_server[server] = connection
    except (http.client.HTTPException, ValueError) as error:
        kind = BodyStoreError if _is_cut_off(error) else BrokenAnswerError
        raise kind(f"{location.url}: no HTTP answer: {error!r}") from None
    finally:
        if _idle.by_server.get(server) is not connection:
            connection.close()


def _ask(
    connection: http.client.HTTPConnection, location: Location, limits: ReadLimits
) -> tuple[http.client.HTTPResponse, socket.socket]:
    if connection.sock is None:
        connection.timeout = limits.remaining_seconds()
        connection.connect()
    sock = connection.sock
    limits.closes_with(lambda: _shut_down(sock))
    sock.settimeout(limits.remaining_seconds())
    connection.request("GET", location.target, headers=_HEADERS)
    return connection.getresponse(), sock


def _connection(location: Location, timeout_seconds: float) -> http.client.HTTPConnection:
    host, _, port = location.host.rpartition(":")
    host = host.strip("[]")
    if location.scheme == HTTPS:
        return http.client.HTTPSConnection(
            host, int(port), timeout=timeout_seconds, context=_tls_context()
        )
    return http.client.HTTPConnection(host, int(port), timeout=timeout_seconds)


@functools.cache
def _tls_context() -> ssl.SSLContext:
    return ssl.create_default_context()


def _check_response(location: Location, response: http.client.HTTPResponse) -> None:
    status = response.status
    _check_length(location, response)
    if status == http.client.OK:
        coding = response.getheader("Content-Encoding", "identity").lower()
        if coding != "identity":
            raise ReferenceRefusedError(f"{location.url} is sent with Content-Encoding {coding}")
        return
    said = f"{location.url} is answered with {status} {response.reason}"
    if status in _NOT_FOUND:
        raise BodyNotFoundError(said)
    if 300 <= status < 400:
        raise ReferenceRefusedError(f"{said}; redirects are not followed")
    if 400 <= status < 500 and status not in _LATER:
        raise ReferenceRefusedError(said)
    if 500 <= status < 600 or status in _LATER:
        raise BodyStoreError(said)
    raise BrokenAnswerError(said)


def _check_length(location: Location, response: http.client.HTTPResponse) -> None:
    """Refuse what Python's client takes for no length: it would read until the time is over."""
    lengths = set(response.headers.get_all("Content-Length", []))
    if len(lengths) > 1 or any(not (one.isascii() and one.isdigit()) for one in lengths):
        found = sorted(one[:32] for one in lengths)
        raise BrokenAnswerError(f"{location.url} is answered with the Content-Length {found}")


def _is_cut_off(error: Exception) -> bool:
    """Return whether the connection has ended early, which may pass."""
    if not isinstance(error, http.client.IncompleteRead):
        return isinstance(error, http.client.RemoteDisconnected)
    # Python's client raises it for a chunk's size that is no number, too; at the end that is empty.
    parsing = error.__context__
    return not isinstance(parsing, ValueError) or str(parsing).endswith("b''")


def _shut_down(sock: socket.socket) -> None:
    """End what waits for a socket, on whichever thread."""
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def probe_server(prefix: Location, limits: ReadLimits) -> str:
    """Return what an allowed server says; any answer shows that it is there."""
    try:
        with open_response(prefix, limits):
            return "answers"
    except (BodyNotFoundError, ReferenceRefusedError) as error:
        return f"answers ({str(error).rpartition(' is answered with ')[2]})"
    except OSError as error:
        raise BodyStoreError(f"{prefix.url} cannot be reached: {error}") from None
