"""Reads a body piece by piece, within its limits, whatever the store says of its size."""

import hashlib
import hmac
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from topicserve.backends.references.allow_list import Location
from topicserve.backends.references.errors import (
    BodyMismatchError,
    BodyStoreError,
    BodyTimeoutError,
    BodyTooLargeError,
)

PIECE_BYTES = 256 * 1024


class ReadLimits:
    """What one try to read a body may take. `abandon` may come from any thread."""

    def __init__(
        self,
        max_bytes: int,
        timeout_seconds: float,
        on_bytes: Callable[[int], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_bytes` is told of memory as it is taken, before what is read into it where known."""
        self.max_bytes = max_bytes
        self._timeout_seconds = timeout_seconds
        self._until = clock() + timeout_seconds
        self._on_bytes = on_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._close: Callable[[], None] | None = None
        self._is_abandoned = False
        self.counted_bytes = 0
        """The memory that `on_bytes` was told of."""

    def remaining_seconds(self) -> float:
        """Return the time that is left; raises BodyTimeoutError where there is none."""
        remaining = self._until - self._clock()
        if remaining <= 0 or self._is_abandoned:
            raise BodyTimeoutError(f"the body was not read within {self._timeout_seconds:g} s")
        return remaining

    def count(self, size_bytes: int) -> None:
        """Count the memory of so many bytes in all; raises BodyTooLargeError for too many."""
        if size_bytes > self.max_bytes:
            raise BodyTooLargeError(
                f"the body has {size_bytes} bytes or more; {self.max_bytes} are allowed"
            )
        more = size_bytes - self.counted_bytes
        if more > 0:
            # In this order: what looks at both from another thread may find it twice, not missing.
            self._on_bytes(more)
            self.counted_bytes = size_bytes

    def closes_with(self, close: Callable[[], None]) -> None:
        """Have this called when the try is abandoned: it must end what a read waits for."""
        with self._lock:
            self._close = close

    def abandon(self) -> None:
        """Let the try fail as soon as may be."""
        with self._lock:
            self._is_abandoned = True
            close = self._close
        if close is not None:
            close()


class OpenBody(Protocol):
    """A body that is being read by one thread."""

    size_bytes: int | None
    """What the store says that it has; None where it does not say."""

    def read(self, max_bytes: int) -> bytes:
        """Return the next bytes, at least one; none at its end. May block within the limits."""


Open = Callable[[Location, ReadLimits], AbstractContextManager[OpenBody]]
"""Opens a body. Raises one of `errors`, or OSError for what may pass."""


def read_body(open_body: Open, location: Location, limits: ReadLimits) -> bytes:
    """Return a body, or raise one of `errors`."""
    try:
        with open_body(location, limits) as body:
            return _read_all(body, limits)
    except OSError as error:
        problem = f"{type(error).__name__}: {error}"
        raise BodyStoreError(f"{location.url} cannot be read: {problem}") from None


def _read_all(body: OpenBody, limits: ReadLimits) -> bytes:
    expected = body.size_bytes
    if expected is not None:
        limits.count(expected)
    pieces: list[bytes] = []
    total = 0
    while piece := body.read(PIECE_BYTES):
        total += len(piece)
        limits.count(total)
        limits.remaining_seconds()
        pieces.append(piece)
    if expected is not None and total != expected:
        raise BodyStoreError(f"the body ended after {total} bytes of {expected}")
    return b"".join(pieces)


def check_hash(body: bytes, sha256: str | None) -> None:
    """Raise BodyMismatchError for a body with another hash than this one."""
    if sha256 is None:
        return
    found = hashlib.sha256(body).hexdigest()
    if not hmac.compare_digest(found, sha256):
        raise BodyMismatchError(f"the body's SHA-256 is {found}, and {sha256} was given")
