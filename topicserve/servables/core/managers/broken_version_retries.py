"""Gives versions that could not be loaded another chance, later and later."""

from collections.abc import Callable

from topicserve.backoff import Backoff
from topicserve.servables.core.concurrency.event_bus import EventAndTime
from topicserve.servables.core.concurrency.timer import Timer
from topicserve.servables.core.errors import CancelledError
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_state import ManagerState, ServableState

_MAX_REMEMBERED = 1000


class BrokenVersionRetries:
    """Has a source say again what it aspires, some time after a version ended with an error.

    All tries of one life have failed by then; what was wrong, a full disk or a servable that this
    one needs, may be over. The manager must take the new loader (reload_servables_with_error).
    """

    def __init__(self, timer: Timer, backoff: Backoff, republish: Callable[[str], None]) -> None:
        self._timer = timer
        self._backoff = backoff
        self._republish = republish
        self._failures: dict[ServableId, int] = {}

    def take(self, event: EventAndTime[ServableState]) -> None:
        """Hear of a state: a subscriber of the event bus, called one at a time."""
        state = event.event
        if state.manager_state is ManagerState.AVAILABLE:
            self._failures.pop(state.id, None)
        if state.manager_state is not ManagerState.END or state.error is None:
            return
        if isinstance(state.error, CancelledError):
            return
        failures = self._failures.pop(state.id, 0) + 1
        self._failures[state.id] = failures
        if len(self._failures) > _MAX_REMEMBERED:
            del self._failures[next(iter(self._failures))]
        name = state.id.name
        self._timer.call_later(self._backoff.pause_seconds(failures), lambda: self._republish(name))
