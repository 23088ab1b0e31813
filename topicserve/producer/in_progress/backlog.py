"""Records between `publish` and their acknowledgement, bounded in number and bytes."""

import threading
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from topicserve.backends.errors import BacklogFullError
from topicserve.producer.encoder import EncodedRecord
from topicserve.producer.errors import ProducerClosedError
from topicserve.producer.publish_future import PublishFuture


class Entry(NamedTuple):
    """A record on its way and the future that hears of it."""

    encoded: EncodedRecord
    future: PublishFuture
    deadline: float
    """Until when its metadata may be tried to be stored, on the producer's clock."""


class Backlog:
    """A queue whose entries count until they are done, not until they are taken.

    Any thread may put and wait; one thread takes.
    """

    def __init__(self, max_records: int, max_bytes: int) -> None:
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._changed = threading.Condition()
        self._waiting: deque[Entry] = deque()
        self._records = 0
        self._bytes = 0
        self._closed = False
        self._abandoned = False
        self._failed: list[tuple[Entry, Exception]] = []

    @property
    def records(self) -> int:
        """Return how many entries are not done."""
        return self._records

    def put(self, entry: Entry, timeout_seconds: float) -> None:
        """Add an entry, waiting for room. Raises BacklogFullError when none comes in time.

        An entry larger than the bound is let in when nothing else is there. ProducerClosedError
        where the backlog is closed.
        """
        size = entry.encoded.size_bytes
        with self._changed:
            if not self._changed.wait_for(
                lambda: self._closed or self._fits(size), timeout_seconds
            ):
                raise BacklogFullError(
                    f"{self._records} records are in progress and none was finished within "
                    f"{timeout_seconds} s; are the broker and the metadata store reachable?"
                )
            if self._closed:
                raise ProducerClosedError("the producer is closed")
            self._waiting.append(entry)
            self._records += 1
            self._bytes += size
            self._changed.notify_all()

    def take(self, max_records: int) -> tuple[list[Entry], list[tuple[Entry, Exception]]]:
        """Wait for entries or what is handed back; neither when closed and nothing is left."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._failed or self._is_over())
            count = min(max_records, len(self._waiting))
            failed, self._failed = self._failed, []
            return [self._waiting.popleft() for _ in range(count)], failed

    def hand_back(self, failed: Sequence[tuple[Entry, Exception]]) -> bool:
        """Give failed entries to the thread that takes; False if it takes no more."""
        with self._changed:
            if self._abandoned:
                return False
            self._failed += failed
            self._changed.notify_all()
            return True

    def done(self, entries: Sequence[Entry]) -> None:
        """Make room: these entries are acknowledged, failed or cancelled."""
        with self._changed:
            self._records -= len(entries)
            self._bytes -= sum(entry.encoded.size_bytes for entry in entries)
            self._changed.notify_all()

    def wait_until_empty(self, timeout_seconds: float) -> int:
        """Wait until every entry is done; return how many are not when the time has run out."""
        with self._changed:
            self._changed.wait_for(lambda: self._records == 0, timeout_seconds)
            return self._records

    def close(self) -> None:
        """Let nothing more in; anyone who waits to put is told."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def withdraw(self) -> list[Entry]:
        """Take everything that waits, at once, and let the thread that takes end."""
        with self._changed:
            self._abandoned = True
            waiting = list(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()
            return waiting

    def _is_over(self) -> bool:
        return self._abandoned or (self._closed and self._records == 0)

    def _fits(self, size: int) -> bool:
        return self._records == 0 or (
            self._records < self._max_records and self._bytes + size <= self._max_bytes
        )
