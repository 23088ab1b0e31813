"""Fewer system calls for each read of kafka-python 3.0.12.

Its event loop registers a socket before each wait and unregisters it after, and its transports read
4 KiB at a time: a megabyte takes 256 calls. Of a drain of 39 KiB records these were a tenth of the
worker's CPU, and at 200 records a second most of what a wake-up does.
"""

import selectors
import ssl
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from kafka import errors

from topicserve.backends.kafka_python.workarounds.frames import note_received, room_in_frame

T = TypeVar("T")

RECEIVE_BYTES = 64 * 1024
_WOULD_BLOCK = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


if sys.platform == "linux":

    class LazySelector(selectors.EpollSelector):
        """Leaves a socket registered until the next wait: most are registered again before it.

        `get_key` does not describe a socket that is not registered: doing so asks the system for
        both of its addresses, twice.
        """

        def __init__(self) -> None:
            super().__init__()
            self._keys: dict[Any, selectors.SelectorKey] = {}
            self._left: set[Any] = set()
            """Unregistered sockets that the system does not know about yet."""

        def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
            """Register a socket, as the base class does."""
            if fileobj in self._left:
                self._left.discard(fileobj)
                key = super().modify(
                    fileobj, events, data
                )  # no system call where only data changes
            else:
                self._drop_left()  # the number of a closed one may be this one's by now
                key = super().register(fileobj, events, data)
            self._keys[fileobj] = key
            return key

        def unregister(self, fileobj: Any) -> selectors.SelectorKey:
            """Forget a socket. Raises KeyError if it is not registered."""
            key = self._keys.pop(fileobj)
            self._left.add(fileobj)
            return key

        def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
            """Change what a registered socket is waited for."""
            self.get_key(fileobj)
            key = self._keys[fileobj] = super().modify(fileobj, events, data)
            return key

        def get_key(self, fileobj: Any) -> selectors.SelectorKey:
            """Return a registered socket's key, or raise KeyError."""
            return self._keys[fileobj]

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            """Wait for the registered sockets."""
            self._drop_left()
            return super().select(timeout)

        def _drop_left(self) -> None:
            while self._left:
                super().unregister(self._left.pop())

    SELECTOR: type[selectors.BaseSelector] = LazySelector
else:
    SELECTOR = selectors.DefaultSelector
"""Makes the selector of an event loop."""


def receive_much_at_once(transport: Any) -> None:
    """To a new transport: read what has come in few calls, and the rest of large answers in place.

    And deliver it before the end of the connection. The library drops what it received if the same
    read finds the connection closed, as it is after a refused login: the refusal would be taken for
    a broker that is away. What ended the connection is found again by the next read.
    """
    is_encrypted = isinstance(transport._sock, ssl.SSLSocket)  # noqa: SLF001 - there is no other place

    def receive() -> tuple[bytes, Exception | None]:
        if transport._sock is None:  # noqa: SLF001 - closed since the loop found it readable
            return b"", errors.KafkaConnectionError("the connection was closed")
        room = room_in_frame(transport)
        if room is None:
            return receive_new()
        error = receive_into(room)
        # TLS may hold more back, of which the system would not tell.
        return receive_new() if is_encrypted and error is None else (b"", error)

    def receive_new() -> tuple[bytes, Exception | None]:
        received: list[bytes] = []
        while True:
            data, error = _tried(partial(transport._sock.recv, RECEIVE_BYTES))  # noqa: SLF001
            if not data:
                break
            received.append(data)
            if not is_encrypted:
                break  # there is no more, or a large answer that is received in place
        return b"".join(received), None if received else error

    def receive_into(room: memoryview) -> Exception | None:
        left, error = room, None
        while left:
            octets, error = _tried(partial(transport._sock.recv_into, left))  # noqa: SLF001
            if not octets:
                break
            left = left[octets:]
            if not is_encrypted:
                break
        note_received(transport, len(room) - len(left))
        return error if len(left) == len(room) else None

    transport._sock_recv = receive  # noqa: SLF001


def _tried(receive: Callable[[], T]) -> tuple[T | None, Exception | None]:
    """Return what a read gives, None where there is nothing yet, and the error where it failed."""
    try:
        found = receive()
    except _WOULD_BLOCK:
        return None, None
    except Exception as error:
        return None, errors.KafkaConnectionError(str(error))
    return found, None if found else errors.KafkaConnectionError("socket disconnected")
