"""The worker's HTTP server: a daemon thread that answers GET, within limits on everything."""

import errno
import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any

from prometheus_client import CollectorRegistry

from topicserve.worker.config import ConfigError, HttpConfig
from topicserve.worker.http_pages import Health, Page, Pages, ServableStatus, error_page
from topicserve.worker.logging import log_event

MAX_CONNECTIONS = 16
# For a whole request and its answer. Prometheus' own default for a scrape is 10 seconds.
CONNECTION_SECONDS = 10.0
# How long closing may take, and how often somebody's time may be over.
POLL_SECONDS = 0.2
_TOO_MANY = b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"


class HttpServer:
    """Serves metrics, health and status. Building it opens nothing."""

    def __init__(
        self,
        config: HttpConfig,
        registry: CollectorRegistry,
        health: Health,
        servables: ServableStatus,
    ) -> None:
        self._config = config
        self._pages = Pages(registry, health, servables)
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
        """Stop listening. Answers under way are not waited for."""
        if self._server is not None:
            self._server.close()
            self._server = None


def open_server(config: HttpConfig, get: Callable[[str, str], Page]) -> "PageServer":
    """Return a server that listens and answers on a thread of its own.

    `get` is given the path and the Accept header. Raises ConfigError for an address that cannot
    be listened on.
    """
    try:
        server = PageServer(config, get)
    except OSError as error:
        raise _listen_error(config, error) from None
    threading.Thread(
        target=server.serve_forever, args=(POLL_SECONDS,), name="http", daemon=True
    ).start()
    return server


def _listen_error(config: HttpConfig, error: OSError) -> ConfigError:
    if error.errno == errno.EADDRINUSE:
        return ConfigError(
            "http.port",
            f"{config.port} is taken on {config.host}; choose another one, or 0 for a free one",
        )
    if error.errno == errno.EACCES:
        return ConfigError("http.port", f"{config.port} needs privileges; choose one above 1023")
    return ConfigError("http.host", f"cannot listen on {config.host!r}: {error.strerror or error}")


class PageServer(ThreadingTCPServer):
    """A thread a connection, MAX_CONNECTIONS at most, each for CONNECTION_SECONDS at most."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, config: HttpConfig, get: Callable[[str, str], Page]) -> None:
        # Not http.server's own class: it asks the name service for the host's full name.
        self.address_family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
        self.get = get
        self._free = threading.Semaphore(MAX_CONNECTIONS)
        self._lock = threading.Lock()
        self._deadlines: dict[socket.socket, float] = {}
        super().__init__((config.host, config.port), _Handler)
        host = f"[{config.host}]" if ":" in config.host else config.host
        self.address = f"http://{host}:{self.server_address[1]}"

    def close(self) -> None:
        """Stop listening and end the thread that does."""
        self.shutdown()
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer on a thread of its own, or say at once that there are too many."""
        if not self._free.acquire(blocking=False):
            request.settimeout(0)
            with suppress(OSError):  # whoever asked may be gone
                request.send(_TOO_MANY)
            self.shutdown_request(request)
            return
        with self._lock:
            self._deadlines[request] = time.monotonic() + CONNECTION_SECONDS
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # the system gives no more threads
            self._give_back(request)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and give the place back whatever happens."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._give_back(request)

    def _give_back(self, request: socket.socket) -> None:
        with self._lock:
            del self._deadlines[request]
        self._free.release()

    def service_actions(self) -> None:
        """Cut off whoever has had their time: `serve_forever` calls this between connections."""
        self.cut_off(time.monotonic())

    def cut_off(self, now: float) -> None:
        """Shut the connections down whose time is over; their threads then end by themselves."""
        with self._lock:
            late = [request for request, deadline in self._deadlines.items() if deadline <= now]
        for request in late:
            with suppress(OSError):  # it may be closed in this moment
                request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 (the base's)
        """Log what went wrong with a connection, unless it is only that the client left."""
        log_event("http_connection_failed", logging.DEBUG)


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    server_version = "topicserve"
    sys_version = ""
    timeout = CONNECTION_SECONDS

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        try:
            page = self.server.get(self.path, self.headers.get("Accept", ""))
        except Exception as error:
            log_event("http_answer_failed", logging.ERROR, path=self.path, traceback_of=error)
            page = error_page(500, f"{type(error).__name__}; the log says more")
        self._write(page, with_body)

    def _write(self, page: Page, with_body: bool) -> None:
        self.send_response(page.status)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(page.body)))
        self.end_headers()
        if with_body:
            self.wfile.write(page.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002 (the base's)
        """Answer what cannot be understood in the form that all our errors have."""
        self._write(error_page(code, message or "Bad request"), with_body=True)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base's)
        log_event("http_request", logging.DEBUG, line=format % args)
