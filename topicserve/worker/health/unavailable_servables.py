"""Which routes wait for a version of their servable."""

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from topicserve.worker.stages.request import Route
from topicserve.worker.telemetry.logging import log_event

# What waits holds offsets, and with exactly_once the results of all other records too.
REMIND_SECONDS = 60.0
# A call that fails once is no outage: it must have failed again so long after.
OUTAGE_SECONDS = 10.0


@dataclass(slots=True)
class _Wait:
    problem: str
    since: float
    remind_at: float
    failing_since: float | None = None
    """Since when a loaded version does not answer; None where none is loaded."""
    failed_at: float = 0.0
    """When it last did not."""


class UnavailableServables:
    """Logs when a route begins to wait, every minute while it does, and when it goes on.

    Batch threads call `note` and `clear`, the thread of a rebalance `forget` and the truth value,
    HTTP threads `problems`. One lock guards the waits; whether there are any is read without it.
    Nothing blocks.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._waits: dict[Route, _Wait] = {}
        self.noted_at = -math.inf
        """When a batch last came back; one assignment, no lock."""

    def __bool__(self) -> bool:
        """Return whether any route waits."""
        return bool(self._waits)

    def problems(self) -> list[str]:
        """Return which servables are loaded and have not answered for OUTAGE_SECONDS, and why."""
        with self._lock:
            found = {
                route.servable: wait.problem
                for route, wait in self._waits.items()
                if wait.failing_since is not None
                and wait.failed_at - wait.failing_since >= OUTAGE_SECONDS
            }
        return [f"servable {name!r} does not answer: {found[name]}" for name in sorted(found)]

    def note(self, route: Route, problem: str, *, is_loaded: bool = False) -> None:
        """Note that a batch came back for this reason.

        `is_loaded` says that a version is loaded, and does not answer.
        """
        self.noted_at = now = self._clock()
        with self._lock:
            wait = self._waits.setdefault(route, _Wait("", now, now + REMIND_SECONDS))
            is_new, is_long = problem != wait.problem, now >= wait.remind_at
            wait.problem, wait.failed_at = problem, now
            if not is_loaded:
                wait.failing_since = None
            elif wait.failing_since is None:
                wait.failing_since = now
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
