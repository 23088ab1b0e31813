"""Which routes wait for a version of their servable."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from topicserve.worker.stages.request import Route
from topicserve.worker.telemetry.logging import log_event

# What waits holds offsets, and with exactly_once the results of all other records too.
REMIND_SECONDS = 60.0


@dataclass(slots=True)
class _Wait:
    problem: str
    since: float
    remind_at: float


class UnavailableServables:
    """Logs when a route begins to wait, every minute while it does, and when it goes on.

    Batch threads call `note` and `clear`, the thread of a rebalance `forget` and the truth value.
    One lock guards the waits; whether there are any is read without it. Nothing blocks.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._waits: dict[Route, _Wait] = {}

    def __bool__(self) -> bool:
        """Return whether any route waits."""
        return bool(self._waits)

    def note(self, route: Route, problem: str) -> None:
        """Note that a batch came back for this reason."""
        now = self._clock()
        with self._lock:
            wait = self._waits.setdefault(route, _Wait("", now, now + REMIND_SECONDS))
            is_new, is_long = problem != wait.problem, now >= wait.remind_at
            wait.problem = problem
            if is_long:
                wait.remind_at = now + REMIND_SECONDS
        if is_new:
            log_event("servable_unavailable", servable=route.servable, problem=problem)
        if is_long:
            log_event(
                "servable_still_unavailable",
                logging.WARNING,
                servable=route.servable,
                problem=problem,
                seconds=round(now - wait.since),
            )

    def clear(self, route: Route) -> None:
        """Note that a batch was predicted."""
        if not self._waits:
            return  # looked at for every batch
        with self._lock:
            waited = self._waits.pop(route, None) is not None
        if waited:
            log_event("servable_available", servable=route.servable)

    def forget(self) -> None:
        """Take no route for waiting: what waited may be another's by now."""
        with self._lock:
            self._waits.clear()
