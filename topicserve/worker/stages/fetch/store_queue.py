"""What waits for one store, and when it is asked."""

import heapq
import logging
import random
from collections.abc import Iterator

from topicserve.backoff import Backoff
from topicserve.worker.stages.fetch.waiting import Waiting
from topicserve.worker.telemetry.logging import log_event

# One failure may be a connection that was cut; only then is the store itself suspected.
_FAILURES_OF_AN_OUTAGE = 2
# Tries that were out when another one failed mostly fail like it: they are waited for so long.
_OLDER_TRIES_SECONDS = 1.0


class StoreQueue:
    """The bodies to fetch under one allowed prefix. The caller holds a lock.

    Those that were polled first are fetched first. While the store fails it is asked for one body
    at a time, with growing pauses: in turn for the oldest and for another one, so that bodies that
    always fail do not hide that the others can be fetched. A body that fails while others are
    answered says nothing of the store, and waits for its own pause.
    """

    def __init__(self, store: str, backoff: Backoff) -> None:
        self.store = store
        self.problem: str | None = None
        """Why the store is taken for unavailable."""
        self._backoff = backoff
        self._ready: list[tuple[int, Waiting]] = []
        self._again: list[tuple[int, Waiting]] = []
        """Those that failed, once their pauses are over."""
        self._later: list[tuple[float, int, Waiting]] = []
        self._out: dict[Waiting, float] = {}
        self._is_probe_next = True
        self._failures = 0
        self._failed_at = 0.0
        self._failed_last: Waiting | None = None
        self._answered_at = float("-inf")
        self._rests_until = 0.0

    def put(self, waiting: Waiting, due: float = 0.0) -> None:
        """Have a body fetched, not before `due`."""
        if due:
            heapq.heappush(self._later, (due, waiting.number, waiting))
        else:
            heap = self._again if waiting.failures else self._ready
            heapq.heappush(heap, (waiting.number, waiting))

    def next_at(self) -> float | None:
        """Return from when on a body may be fetched; None while none is to be."""
        at = self._rests_until
        if self._failures and self._out:
            if max(self._out.values()) >= self._failed_at:
                return None
            at = max(at, self._failed_at + _OLDER_TRIES_SECONDS)
        if self._ready or self._again:
            return at
        return max(self._later[0][0], at) if self._later else None

    def take(self, now: float) -> Waiting | None:
        """Take the body to fetch now, if there is one; `ended` must follow."""
        while self._later and self._later[0][0] <= now:
            self.put(heapq.heappop(self._later)[2])
        at = self.next_at()
        if at is None or at > now or not (self._ready or self._again):
            return None
        waiting = self._next_in_outage() if self._failures else self._oldest_new()
        self._out[waiting] = now
        return waiting

    def _oldest_new(self) -> Waiting:
        waiting = heapq.heappop(self._ready or self._again)[1]
        waiting.is_probe = False
        return waiting

    def _next_in_outage(self) -> Waiting:
        is_probe = self._is_probe_next and len(self._ready) + len(self._again) > 1
        self._is_probe_next = not self._is_probe_next
        if is_probe:
            return self._take_another()
        heaps = [heap for heap in (self._ready, self._again) if heap]
        waiting = heapq.heappop(min(heaps, key=lambda heap: heap[0][0]))[1]
        waiting.is_probe = False
        return waiting

    def _take_another(self) -> Waiting:
        """Take one of those that were asked for least often."""
        found = [(one, heap) for heap in (self._ready, self._again) for one in heap]
        fewest = min(one.failures + one.probes for (_, one), _ in found)
        # At random: in the order of the topic many bad ones in a row would be asked for first.
        entry, heap = random.choice(
            [(e, heap) for e, heap in found if e[1].failures + e[1].probes == fewest]
        )
        heap.remove(entry)
        heapq.heapify(heap)
        waiting = entry[1]
        waiting.is_probe = True
        waiting.probes += 1
        return waiting

    def queued(self) -> Iterator[Waiting]:
        """Yield the bodies that are to be fetched, and those that were given up meanwhile."""
        for _, waiting in (*self._ready, *self._again):
            yield waiting
        for _, _, waiting in self._later:
            yield waiting

    def ended(self, waiting: Waiting) -> None:
        """Note that a body that was taken is no longer being read."""
        del self._out[waiting]

    def failed(self, waiting: Waiting, started: float, now: float, problem: str) -> bool:
        """Note that a try that began at `started` failed; return whether that is the store's fault.

        It is not where the store answered for others meanwhile, or since this body failed first.
        """
        is_its_own = self._answered_at > min(started, waiting.failed_at)
        waiting.failed_at = min(waiting.failed_at, now)
        if is_its_own:
            return False
        if self._failures and started < self._failed_at:
            return True  # it was out when another one failed: that is one failure
        self._failures += 1
        self._failed_at = now
        if waiting is not self._failed_last:  # one body alone has its own pause, others may go on
            self._rests_until = now + self._backoff.pause_seconds(self._failures)
        self._failed_last = waiting
        if self._failures == _FAILURES_OF_AN_OUTAGE:
            log_event("body_store_unavailable", logging.WARNING, store=self.store, problem=problem)
        if self._failures >= _FAILURES_OF_AN_OUTAGE:
            self.problem = problem
        return True

    def answered(self, now: float) -> None:
        """Note that the store answered, whatever it said."""
        self._failures, self._rests_until, self._answered_at = 0, 0.0, now
        self._failed_last, self._is_probe_next = None, True
        if self.problem is not None:
            self.problem = None
            log_event("body_store_recovered", store=self.store)
