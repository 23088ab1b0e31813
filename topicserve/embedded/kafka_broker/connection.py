"""One client's connection: frames in, frames out, requests answered in their order."""

import asyncio
import struct
from collections import deque
from collections.abc import Awaitable
from typing import Any

from topicserve.embedded.kafka_broker.apis import (
    API_VERSIONS_KEY,
    API_VERSIONS_MAX,
    APIS,
    api_versions,
)
from topicserve.embedded.kafka_broker.context import Broker, Caller
from topicserve.embedded.kafka_broker.error_codes import Code

_FIXED = struct.Struct(">hhih")
MAX_QUEUED_REQUESTS = 64
FRAME_OVERHEAD_BYTES = 1 << 20


class BadFrameError(Exception):
    """The bytes are no request of ours; the connection cannot go on."""


class Connection(asyncio.Protocol):
    """Reads requests and answers them one after the other; a bad frame ends this one alone."""

    def __init__(self, broker: Broker, connections: set["Connection"]) -> None:
        self._broker = broker
        self._connections = connections
        self._max_frame_bytes = broker.settings.max_message_bytes * 8 + FRAME_OVERHEAD_BYTES
        self._buffer = bytearray()
        self._requests: deque[bytes] = deque()
        self._transport: asyncio.Transport
        self._serving: asyncio.Task[None] | None = None
        self._host = ""
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._host = f"/{transport.get_extra_info('peername')[0]}"
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Cut what came into frames."""
        self._buffer += data
        position = 0
        while len(self._buffer) - position >= 4:
            size = int.from_bytes(self._buffer[position : position + 4], "big", signed=True)
            if not _FIXED.size <= size <= self._max_frame_bytes:
                self._transport.abort()
                return
            if len(self._buffer) - position < 4 + size:
                break
            self._requests.append(bytes(self._buffer[position + 4 : position + 4 + size]))
            position += 4 + size
        if position:
            del self._buffer[:position]
        if len(self._requests) >= MAX_QUEUED_REQUESTS:
            self._transport.pause_reading()
        if self._requests and self._serving is None:
            self._serving = asyncio.get_running_loop().create_task(self._serve())

    def pause_writing(self) -> None:
        """Wait with answers: the client does not read them."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Go on answering."""
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """End; a request that still waits is given up."""
        self._connections.discard(self)
        self._writable.set()
        if self._serving is not None:
            self._serving.cancel()

    def close(self) -> None:
        """Close the connection."""
        self._transport.abort()

    async def _serve(self) -> None:
        try:
            while self._requests:
                answer = await self._answer(self._requests.popleft())
                if len(self._requests) < MAX_QUEUED_REQUESTS // 2:
                    self._transport.resume_reading()
                if answer is not None:
                    await self._writable.wait()
                    self._transport.write(answer)
        # Whatever a client's bytes do to a handler, they do it to this connection alone.
        except Exception:
            self._transport.abort()
        finally:
            self._serving = None

    async def _answer(self, frame: bytes) -> bytes | None:
        key, version, correlation_id, client_bytes = _FIXED.unpack_from(frame)
        if key == API_VERSIONS_KEY:
            return self._answer_versions(version, correlation_id)
        api = APIS.get(key)
        if api is None or not api.min_version <= version <= api.max_version:
            raise BadFrameError(f"request {key} version {version}")
        request = api.request.decode(frame, version=version, header=True)
        request.API_VERSION = version
        client_id = frame[_FIXED.size : _FIXED.size + max(client_bytes, 0)].decode()
        response = api.handle(self._broker, request, Caller(client_id, self._host))
        if isinstance(response, Awaitable):
            response = await response
        return None if response is None else _encode(response, version, correlation_id)

    def _answer_versions(self, version: int, correlation_id: int) -> bytes:
        """Answer in version 0 what is asked in a version unknown: every client reads that."""
        if version <= API_VERSIONS_MAX:
            return _encode(api_versions(Code.NONE), version, correlation_id)
        return _encode(api_versions(Code.UNSUPPORTED_VERSION), 0, correlation_id)


def _encode(response: Any, version: int, correlation_id: int) -> bytes:
    response.API_VERSION = version
    response.with_header(correlation_id=correlation_id)
    return bytes(response.encode(header=True, framed=True))
