"""Pauses a worker that gives up too many records, before it empties a topic into dead letters.

Consumption stays paused until a person restarts the worker: only they know whether the cause is
gone.
"""

import logging
import threading
from collections import deque
from collections.abc import Sequence

from topicserve.worker.stages.request import Rejection
from topicserve.worker.telemetry.logging import log_event

# What a worker ends with that was paused when it was stopped: neither success nor a failure that
# another start could pass.


class Breaker:
    """Watches the share of dead letters among the last records.

    Batch threads call `admit`, which does not block, and one lock guards the window; any thread
    reads `open`, without it.

    Once open it stays open: the cause must be fixed and the worker started again. The worker stays
    in its group meanwhile. If it left, the next member would give up as many records again, and so
    would a worker that is restarted automatically.
    """

    def __init__(self, window_records: int, max_dead_letter_share: float) -> None:
        self._window_records = window_records
        self._max_share = max_dead_letter_share
        self._lock = threading.Lock()
        self._seen: deque[tuple[int, int]] = deque()
        self._records = 0
        self._dead = 0
        self.open = False
        self.problems: tuple[str, ...] = ()
        """Why it is open and what to do, and what the last dead letter was; empty while closed."""

    def admit(self, records: int, rejections: Sequence[Rejection]) -> bool:
        """Note a batch, and return whether it may be published.

        The batch that opens the breaker may not, and none after it: they stay uncommitted.
        """
        with self._lock:
            if not self.open:
                self._note(records, len(rejections))
                if self.open:
                    self._tell(rejections[-1] if rejections else None)
            return not self.open

    def _note(self, records: int, dead_letters: int) -> None:
        self._seen.append((records, dead_letters))
        self._records += records
        self._dead += dead_letters
        while self._records - self._seen[0][0] >= self._window_records:
            old_records, old_dead = self._seen.popleft()
            self._records -= old_records
            self._dead -= old_dead
        full = self._records >= self._window_records
        self.open = full and self._dead > self._max_share * self._records

    def _tell(self, last: Rejection | None) -> None:
        why = (
            f"the breaker is open: {self._dead:,} of the newest {self._records:,} records would "
            f"have become dead letters (delivery.max_dead_letter_share is {self._max_share:g}), so "
            "consumption is paused. Fix the cause, then restart the worker"
        )
        what = () if last is None else (f"the last of them as {last.reason.value}: {last.error}",)
        self.problems = (why, *what)
        log_event(
            "breaker_opened",
            logging.ERROR,
            records=self._records,
            dead_letters=self._dead,
            reason="" if last is None else last.reason.value,
            problem="" if last is None else str(last.error),
            remedy="consumption is paused; fix the cause and restart the worker",
        )
