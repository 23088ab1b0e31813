"""Stops a worker that gives up too many records, before it empties a topic into dead letters."""

import threading
from collections import deque


class Breaker:
    """Watches the share of dead letters among the last records. Any thread may call it.

    Once open it stays open: what broke the records must be mended and the worker started again.
    """

    def __init__(self, window_records: int, max_dead_letter_share: float) -> None:
        self._window_records = window_records
        self._max_share = max_dead_letter_share
        self._lock = threading.Lock()
        self._seen: deque[tuple[int, int]] = deque()
        self._records = 0
        self._dead = 0
        self.open = False

    def observe(self, records: int, dead_letters: int) -> None:
        """Note a batch: how many records it had, and how many of them were given up."""
        with self._lock:
            self._seen.append((records, dead_letters))
            self._records += records
            self._dead += dead_letters
            while self._records - self._seen[0][0] >= self._window_records:
                old_records, old_dead = self._seen.popleft()
                self._records -= old_records
                self._dead -= old_dead
            full = self._records >= self._window_records
            if full and self._dead > self._max_share * self._records:
                self.open = True
