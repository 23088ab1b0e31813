"""The metrics of the versions that come and go."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from topicserve.servables.core.concurrency.event_bus import EventAndTime
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_state import ManagerState, ServableState
from topicserve.worker.telemetry.label_values import (
    LOAD_BUCKETS_SECONDS,
    STATES,
    STATUS_CODES,
    at_zero,
)


class StateEvents(Protocol):
    """Where the states of versions are told: the lifecycle core, or its event bus alone."""

    def subscribe(self, subscriber: Callable[[EventAndTime[ServableState]], None], /) -> object:
        """Call `subscriber` with what happens from now on, one call at a time."""


class ServableMetrics:
    """What the lifecycle core reports of versions coming and going.

    Versions come for as long as the worker runs, and series of those that are gone would add up: a
    version that was unloaded leaves none, and of those that failed the last MAX_FAILED are kept.
    """

    MAX_FAILED = 64

    def __init__(self, registry: CollectorRegistry, names: Iterable[str] = ()) -> None:
        """`names` are the servables that are known at the start."""
        self._expected: set[str] = set()
        self._states: dict[ServableId, str] = {}
        self._failed: deque[ServableId] = deque()
        self.servable_state = Gauge(
            "topicserve_servable_state",
            "1 for the state that a version is in: START, LOADING, AVAILABLE, UNLOADING, END.",
            ["servable", "version", "state"],
            registry=registry,
        )
        self.servable_transitions = Counter(
            "topicserve_servable_transitions",
            "States that versions of a servable came into.",
            ["servable", "state"],
            registry=registry,
        )
        self.servable_failures = Counter(
            "topicserve_servable_failures",
            "Versions that ended with an error (they could not be loaded), by its status code.",
            ["servable", "reason"],
            registry=registry,
        )
        self.servable_load_seconds = Histogram(
            "topicserve_servable_load_seconds",
            "From LOADING to AVAILABLE, retries and warm-up included.",
            ["servable"],
            buckets=LOAD_BUCKETS_SECONDS,
            registry=registry,
        )
        self.servable_unload_seconds = Histogram(
            "topicserve_servable_unload_seconds",
            "From UNLOADING to END; a long one waits for handles to be closed.",
            ["servable"],
            buckets=LOAD_BUCKETS_SECONDS,
            registry=registry,
        )

        self.expect(names)

    def expect(self, names: Iterable[str]) -> None:
        """Show the counters of these servables at 0."""
        for name in names:
            if name not in self._expected:
                self._expected.add(name)
                at_zero(self.servable_transitions, (name,), STATES)
                at_zero(self.servable_failures, (name,), STATUS_CODES)

    def subscribe(self, events: StateEvents) -> None:
        """Follow what happens from now on."""
        events.subscribe(lambda event: self.take(event.event))

    def take(self, state: ServableState) -> None:
        """Count a version's new state. One call at a time, as the event bus makes them."""
        name = state.id.name
        self.expect([name])
        self._show(state)
        self.servable_transitions.labels(name, state.manager_state.name).inc()
        if state.error is not None:
            self.servable_failures.labels(name, state.error.code).inc()
        elif state.seconds is not None and state.manager_state is ManagerState.AVAILABLE:
            self.servable_load_seconds.labels(name).observe(state.seconds)
        elif state.seconds is not None:
            self.servable_unload_seconds.labels(name).observe(state.seconds)

    def _show(self, state: ServableState) -> None:
        """Leave the version with the one series of the state that it is in now."""
        self._hide(state.id)
        ended = state.manager_state is ManagerState.END
        if ended and state.error is None:
            return
        self._states[state.id] = state.manager_state.name
        self.servable_state.labels(*_labels(state.id), state.manager_state.name).set(1)
        if ended:
            self._failed.append(state.id)
            if len(self._failed) > self.MAX_FAILED:
                self._hide(self._failed[0])

    def _hide(self, servable_id: ServableId) -> None:
        before = self._states.pop(servable_id, None)
        if before is not None:
            self.servable_state.remove(*_labels(servable_id), before)
        if before == ManagerState.END.name:
            self._failed.remove(servable_id)


def _labels(servable_id: ServableId) -> tuple[str, str]:
    return servable_id.name, str(servable_id.version)
