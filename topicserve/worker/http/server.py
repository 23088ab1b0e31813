"""The worker's HTTP server, within limits on everything.

One thread reads requests and writes answers for all connections, so a slow client takes no thread.
Pages are made on a few threads. Those of health have their own: a page that hangs, and the clients
that wait for it, keep `/livez` from no one.
"""

import asyncio
import errno
import logging
import re
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import NamedTuple

from prometheus_client import CollectorRegistry

from topicserve.worker.config.schema import ConfigError, HttpConfig
from topicserve.worker.http.page_threads import PageThreads, TooManyPagesError
from topicserve.worker.http.pages import (
    HEALTH_PATHS,
    Health,
    Page,
    Pages,
    ServableStatus,
    StatusPages,
    error_page,
)
from topicserve.worker.telemetry.logging import log_event

READY_WITHOUT_HTTP = "ready, without HTTP"
"""What a worker prints in place of its address."""
# The one that has been open longest is closed when there is one more.
MAX_CONNECTIONS = 128
# For a whole request and its answer. Prometheus' own default for a scrape is 10 seconds.
CONNECTION_SECONDS = 10.0
MAX_REQUEST_BYTES = 16 * 1024
_PAGE_THREADS, _HEALTH_THREADS = 4, 2
_CLOSE_SECONDS = 1.0
_ACCEPT_AGAIN_SECONDS = 1.0
_HEAD_END = b"\r\n\r\n"
_REQUEST_LINE = re.compile(rb"([A-Z]{1,20}) (\S+) HTTP/1\.[01]")

Get = Callable[[str, str], Page]
"""Returns the page of a path, given the Accept header."""


class HttpServer:
    """Serves metrics, health and status. Building it opens nothing."""

    def __init__(
        self,
        config: HttpConfig,
        registry: CollectorRegistry,
        health: Health,
        servables: ServableStatus,
        status: StatusPages,
    ) -> None:
        self._config = config
        self._pages = Pages(registry, health, servables, status)
        self._server: PageServer | None = None

    def start(self) -> str:
        """Listen, and return the address; empty where the configuration switches it off.

        Raises ConfigError for an address that cannot be listened on.
        """
        if self._config.port < 0:
            return ""
        self._server = open_server(self._config, self._pages.get)
        return self._server.address

    def close(self) -> None:
        """Stop listening. Answers that are not finished are not waited for."""
        if self._server is not None:
            self._server.close()
            self._server = None


def open_server(
    config: HttpConfig, get: Get, connection_seconds: float = CONNECTION_SECONDS
) -> "PageServer":
    """Return a server that listens and answers on threads of its own.

    Raises ConfigError for an address that cannot be listened on.
    """
    try:
        return PageServer(config, get, connection_seconds)
    except OSError as error:
        raise _listen_error(config, error) from None


def _listen_error(config: HttpConfig, error: OSError) -> ConfigError:
    if error.errno == errno.EADDRINUSE:
        return ConfigError(
            "http.port",
            f"{config.port} is taken on {config.host}; choose another one, or 0 for a free one",
        )
    if error.errno == errno.EACCES:
        return ConfigError("http.port", f"{config.port} needs privileges; choose one above 1023")
    return ConfigError("http.host", f"cannot listen on {config.host!r}: {error.strerror or error}")


class HttpRequest(NamedTuple):
    """What is read of a request."""

    method: str
    path: str
    accept: str


class PageServer:
    """Answers GET and HEAD, one request a connection."""

    def __init__(self, config: HttpConfig, get: Get, connection_seconds: float) -> None:
        self._get = get
        self._connection_seconds = connection_seconds
        self._connections: dict[asyncio.Task[None], None] = {}  # the oldest first
        family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
        listening = socket.create_server(
            (config.host, config.port), family=family, backlog=2 * MAX_CONNECTIONS
        )
        self.port: int = listening.getsockname()[1]
        host = f"[{config.host}]" if ":" in config.host else config.host
        self.address = f"http://{host}:{self.port}"
        self._pages = PageThreads("http-page", _PAGE_THREADS)
        self._health = PageThreads("http-health", _HEALTH_THREADS)
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(
            target=self._run, args=(listening,), name="http", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening and end the threads."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_CLOSE_SECONDS)
        self._pages.close()
        self._health.close()

    def _run(self, listening: socket.socket) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve(listening))
        finally:
            self._loop.close()

    async def _serve(self, listening: socket.socket) -> None:
        tasks = [asyncio.create_task(self._accept(listening))]
        await self._stop.wait()
        tasks += self._connections
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        listening.close()

    async def _accept(self, listening: socket.socket) -> None:
        # Sockets without asyncio's transports: each of these holds itself in a cycle, and the
        # worker's garbage collector comes by once in half a million objects.
        listening.setblocking(False)
        while True:
            try:
                connection, _ = await self._loop.sock_accept(listening)
            except OSError:  # out of file descriptors, or the client is gone
                await asyncio.sleep(_ACCEPT_AGAIN_SECONDS)
                continue
            if len(self._connections) >= MAX_CONNECTIONS:
                # Who needs longest makes room: an honest client is done within milliseconds.
                next(iter(self._connections)).cancel()
            task = asyncio.create_task(self._connected(connection))
            self._connections[task] = None
            task.add_done_callback(partial(self._close_connection, connection))
            await asyncio.sleep(0)  # of a full backlog each accept returns at once

    def _close_connection(self, connection: socket.socket, task: asyncio.Task[None]) -> None:
        # Not within the task: one that is cancelled before it begins runs none of its code.
        del self._connections[task]
        connection.close()

    async def _connected(self, connection: socket.socket) -> None:
        try:
            async with asyncio.timeout(self._connection_seconds):
                await self._loop.sock_sendall(connection, await self._answer(connection))
                await self._take_rest(connection)
        except (OSError, TimeoutError, EOFError, asyncio.CancelledError):
            pass  # the client is gone, or too slow, or this server is closed

    async def _take_rest(self, connection: socket.socket) -> None:
        """Read what came behind the request: closing over it would take the answer back."""
        connection.shutdown(socket.SHUT_WR)
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                while await self._loop.sock_recv(connection, MAX_REQUEST_BYTES):
                    pass

    async def _answer(self, connection: socket.socket) -> bytes:
        head = await self._head(connection)
        if head is None:
            return _response(error_page(431, "Request header fields too large"))
        request = parse_request(head)
        if request is None:
            return _response(error_page(400, "Bad request"))
        if request.method not in ("GET", "HEAD"):
            return _response(error_page(501, f"Unsupported method ({request.method!r})"))
        page = await self._page(request)
        log_event("http_request", logging.DEBUG, path=request.path, status=page.status)
        return _response(page, with_body=request.method == "GET")

    async def _head(self, connection: socket.socket) -> bytes | None:
        """Return the request's line and headers; None where they are too long."""
        head = bytearray()
        while (end := head.find(_HEAD_END)) < 0:
            if len(head) > MAX_REQUEST_BYTES:
                return None
            more = await self._loop.sock_recv(connection, MAX_REQUEST_BYTES)
            if not more:
                raise EOFError
            head += more
        return bytes(head[: end + len(_HEAD_END)]) if end <= MAX_REQUEST_BYTES else None

    async def _page(self, request: HttpRequest) -> Page:
        is_health = request.path.partition("?")[0] in HEALTH_PATHS
        threads = self._health if is_health else self._pages
        try:
            return await threads.call(lambda: self._get(request.path, request.accept))
        except TooManyPagesError as error:
            return error_page(503, str(error))
        except Exception as error:
            log_event("http_answer_failed", logging.ERROR, path=request.path, traceback_of=error)
            return error_page(500, f"{type(error).__name__}; the log says more")


def parse_request(head: bytes) -> HttpRequest | None:
    """Return a request from its first line and headers; None if it is not HTTP/1."""
    first, *headers = head.split(b"\r\n")
    found = _REQUEST_LINE.fullmatch(first)
    if found is None:
        return None
    accept = b""
    for header in headers:
        name, _, value = header.partition(b":")
        if name.lower() == b"accept":
            accept = value.strip()
            break
    method, path, accept_text = (part.decode("latin-1") for part in (*found.groups(), accept))
    return HttpRequest(method, path, accept_text)


def _response(page: Page, *, with_body: bool = True) -> bytes:
    with_reason = f"{page.status}"
    with suppress(ValueError):
        with_reason += f" {HTTPStatus(page.status).phrase}"
    retry = "Retry-After: 1\r\n" if page.status == 503 else ""
    more = "".join(f"{name}: {value}\r\n" for name, value in page.headers)
    head = (
        f"HTTP/1.1 {with_reason}\r\nContent-Type: {page.content_type}\r\n"
        f"Content-Length: {len(page.body)}\r\n{more}{retry}Connection: close\r\n\r\n"
    )
    return head.encode("latin-1") + (page.body if with_body else b"")
