"""What waits for one store, and when it is asked."""

import heapq
import logging

from topicserve.backoff import Backoff
from topicserve.worker.stages.fetch.waiting import Waiting
from topicserve.worker.telemetry.logging import log_event

# One failure may be a connection that was cut; only then is the store itself suspected.
_FAILURES_OF_AN_OUTAGE = 2


class StoreQueue:
    """The bodies to fetch under one allowed prefix. The caller holds a lock.

    Those that were polled first are fetched first. While the store fails it is asked for one body
    at a time, with growing pauses. A record that fails alone waits for its own pause, so that the
    others go on.
    """

    def __init__(self, store: str, backoff: Backoff) -> None:
        self.store = store
        self.running = 0
        """How many tries are out."""
        self.problem: str | None = None
        """Why the store is taken for unavailable."""
        self._backoff = backoff
        self._ready: list[tuple[int, Waiting]] = []
        self._later: list[tuple[float, int, Waiting]] = []
        self._failures = 0
        self._failed_at = 0.0
        self._rests_until = 0.0

    def put(self, waiting: Waiting, due: float = 0.0) -> None:
        """Have a body fetched, not before `due`."""
        if due:
            heapq.heappush(self._later, (due, waiting.number, waiting))
        else:
            heapq.heappush(self._ready, (waiting.number, waiting))

    def next_at(self) -> float | None:
        """Return from when on a body may be fetched; None while none is to be."""
        if self._failures and self.running:
            return None
        if self._ready:
            return self._rests_until
        return max(self._later[0][0], self._rests_until) if self._later else None

    def take(self, now: float) -> Waiting | None:
        """Take the body to fetch now, if there is one."""
        while self._later and self._later[0][0] <= now:
            _, number, waiting = heapq.heappop(self._later)
            heapq.heappush(self._ready, (number, waiting))
        at = self.next_at()
        if at is None or at > now or not self._ready:
            return None
        self.running += 1
        return heapq.heappop(self._ready)[1]

    def failed(self, started: float, now: float, problem: str) -> None:
        """Note that the store did not answer to a try that began at `started`."""
        if self._failures and started < self._failed_at:
            return  # it was out when another one failed: that is one failure
        self._failures += 1
        self._failed_at = now
        self._rests_until = now + self._backoff.pause_seconds(self._failures)
        if self._failures == _FAILURES_OF_AN_OUTAGE:
            log_event("body_store_unavailable", logging.WARNING, store=self.store, problem=problem)
        if self._failures >= _FAILURES_OF_AN_OUTAGE:
            self.problem = problem

    def answered(self) -> None:
        """Note that it did, whatever it said."""
        self._failures, self._rests_until = 0, 0.0
        if self.problem is not None:
            self.problem = None
            log_event("body_store_recovered", store=self.store)
