"""Which routes wait for a version of their servable."""

import threading

from topicserve.worker.logging import log_event
from topicserve.worker.request import Route


class WaitingRoutes:
    """Says once that a route waits, and once that it goes on. Any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._problems: dict[Route, str] = {}

    def __bool__(self) -> bool:
        """Return whether any route waits."""
        return bool(self._problems)

    def note(self, route: Route, problem: str) -> None:
        """Note that a batch came back for this reason."""
        with self._lock:
            known = self._problems.get(route)
            self._problems[route] = problem
        if problem != known:
            log_event("predict_waits", servable=route.servable, problem=problem)

    def clear(self, route: Route) -> None:
        """Note that a batch was predicted."""
        if not self._problems:
            return  # looked at for every batch
        with self._lock:
            waited = self._problems.pop(route, None) is not None
        if waited:
            log_event("predict_goes_on", servable=route.servable)

    def forget(self) -> None:
        """Take no route for waiting: what waited may be somebody else's by now."""
        with self._lock:
            self._problems.clear()
