"""One client's connection: bytes come in, frames go to handlers, answers go out in order."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable
from typing import Any, cast

from topicserve.embedded.broker.api import ClientInfo
from topicserve.embedded.broker.apis import APIS
from topicserve.embedded.broker.broker import EmbeddedBroker
from topicserve.embedded.broker.frames import (
    LENGTH_BYTES,
    BadRequestError,
    RequestFrame,
    read_length,
    read_request,
    write_response,
    write_unsupported,
)

_log = logging.getLogger(__name__)

# What a client may send ahead while one of its requests waits; then its socket is left to fill.
_MAX_AHEAD_BYTES = 1 << 20


class Connection(asyncio.Protocol):
    """One client's connection: its requests are answered one by one, in the order they came.

    A request that waits (for records, or for a group's other members) holds up those behind it, as
    in Kafka, and no other connection. Bytes that are no request end this connection alone, and so
    does a handler that raises, with a traceback in the log. A client that sends ahead or does not
    read what it is answered is held back by its socket: at most 1 MiB of requests waits here.

    All methods run on the event loop's thread.
    """

    def __init__(self, broker: EmbeddedBroker, connections: set["Connection"]) -> None:
        self._broker = broker
        self._connections = connections
        self._received = bytearray()
        self._requests: deque[RequestFrame] = deque()
        self._ahead_bytes = 0
        self._waiting: asyncio.Task[None] | None = None
        self._writable = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to read requests."""
        self._transport = cast(asyncio.Transport, transport)
        self._host = transport.get_extra_info("peername")[0]
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio.Protocol's
        """Give up the request that waits, and those behind it."""
        self._connections.discard(self)
        self._requests.clear()
        if self._waiting is not None:
            self._waiting.cancel()

    def data_received(self, data: bytes) -> None:
        """Take requests out of what came, and answer what can be answered."""
        self._received += data
        try:
            self._take_requests()
            self._answer_requests()
        except BadRequestError as error:
            self._fail(error)

    def pause_writing(self) -> None:
        """Answer no more until the client has read what it was answered."""
        self._writable = False

    def resume_writing(self) -> None:
        """Go on answering."""
        self._writable = True
        self._go_on()

    def close(self) -> None:
        """Close the connection at once."""
        self._transport.abort()

    def _take_requests(self) -> None:
        start = 0
        while len(self._received) - start >= LENGTH_BYTES:
            prefix = self._received[start : start + LENGTH_BYTES]
            length = read_length(prefix, self._broker.config.request_max_bytes)
            end = start + LENGTH_BYTES + length
            if len(self._received) < end:
                break
            frame = bytes(memoryview(self._received)[start + LENGTH_BYTES : end])
            request = read_request(memoryview(frame))
            self._requests.append(request)
            self._ahead_bytes += len(request.body)
            start = end
        del self._received[:start]
        if self._ahead_bytes > _MAX_AHEAD_BYTES:
            self._transport.pause_reading()

    def _answer_requests(self) -> None:
        while self._requests and self._writable and self._waiting is None:
            request = self._requests.popleft()
            self._ahead_bytes -= len(request.body)
            self._answer(request)
        if not self._requests:
            self._transport.resume_reading()

    def _answer(self, request: RequestFrame) -> None:
        if not request.is_supported:
            self._transport.write(write_unsupported(request))
            return
        client = ClientInfo(request.client_id, self._host)
        handler = APIS[request.api_key].handler
        decoded = request.decode()
        try:
            response = handler(self._broker, decoded, client)
        except Exception as error:
            # A handler's bug must not take the others' connections along.
            _log.exception("%s failed", request)
            raise BadRequestError(f"{request} failed: {error!r}") from error
        if isinstance(response, Awaitable):
            self._waiting = asyncio.ensure_future(self._wait(request, response))
        else:
            self._write(request, response)

    async def _wait(self, request: RequestFrame, response: Awaitable[Any]) -> None:
        try:
            answer = await response
        except Exception as error:
            _log.exception("%s failed", request)
            self._fail(BadRequestError(f"{request} failed: {error!r}"))
            return
        self._write(request, answer)
        self._waiting = None
        self._go_on()

    def _write(self, request: RequestFrame, response: Any) -> None:
        if response is not None:
            self._transport.write(write_response(request, response))

    def _go_on(self) -> None:
        try:
            self._answer_requests()
        except BadRequestError as error:
            self._fail(error)

    def _fail(self, error: BadRequestError) -> None:
        _log.info("closing the connection of %s: %s", self._host, error)
        self._requests.clear()
        self._transport.abort()
