"""Remembers the last state of every version (TF Serving: core/servable_state_monitor.h)."""

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from topicserve.servables.core.concurrency.event_bus import EventAndTime, EventBus
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_request import ServableRequest
from topicserve.servables.core.servable_state import ManagerState, ServableState

StateAndTime = EventAndTime[ServableState]
Reached = Callable[[bool, Mapping[ServableId, ManagerState]], None]


class ServableStateMonitor:
    """Subscribes to a bus. It must exist before the manager, to see everything.

    Any thread may ask; one lock guards what was heard. Only members whose names begin with `wait`
    block, for their timeout.

    Of versions that have ended, so many of a name are remembered as `max_ended_versions` says,
    those that ended last. `max_log_events` above 0 keeps so many of the newest events.
    """

    def __init__(
        self,
        bus: EventBus[ServableState],
        max_log_events: int = 0,
        max_ended_versions: int = 16,
    ) -> None:
        self._changed = threading.Condition()
        self._states: dict[str, dict[int, StateAndTime]] = {}
        self._log: deque[StateAndTime] = deque(maxlen=max_log_events)
        self._max_ended_versions = max_ended_versions
        self._waiting: list[_Wait] = []
        self._subscription = bus.subscribe(self._take)

    def close(self) -> None:
        """Hear nothing any more."""
        self._subscription.close()

    def state(self, servable_id: ServableId) -> ServableState | None:
        """Return a version's state, None where nothing was heard of it."""
        found = self.state_and_time(servable_id)
        return None if found is None else found.event

    def state_and_time(self, servable_id: ServableId) -> StateAndTime | None:
        """Return the same with the time of the event."""
        with self._changed:
            return self._states.get(servable_id.name, {}).get(servable_id.version)

    def versions(self, name: str) -> dict[int, ServableState]:
        """Return the states of a name's versions, the highest version first."""
        with self._changed:
            states = dict(self._states.get(name, {}))
        return {version: states[version].event for version in sorted(states, reverse=True)}

    def all_states(self) -> dict[str, dict[int, ServableState]]:
        """Return the states of all versions of all names."""
        with self._changed:
            names = list(self._states)
        return {name: self.versions(name) for name in names}

    def live_states(self) -> dict[str, dict[int, ServableState]]:
        """Return the states of what has not ended; names without any are left out."""
        live = {
            name: {
                version: state
                for version, state in states.items()
                if state.manager_state is not ManagerState.END
            }
            for name, states in self.all_states().items()
        }
        return {name: states for name, states in live.items() if states}

    def available_names(self) -> set[str]:
        """Return the names with at least one version available."""
        return {
            name
            for name, states in self.all_states().items()
            if any(state.manager_state is ManagerState.AVAILABLE for state in states.values())
        }

    def log(self) -> list[StateAndTime]:
        """Return the newest events, the oldest of them first."""
        with self._changed:
            return list(self._log)

    def forget_unloaded_servable_states(self) -> None:
        """Forget the versions that have ended; their names stay."""
        with self._changed:
            for name, states in self._states.items():
                self._states[name] = {
                    version: state
                    for version, state in states.items()
                    if state.event.manager_state is not ManagerState.END
                }

    def notify_when_servables_reach_state(
        self, requests: Sequence[ServableRequest], goal: ManagerState, reached: Reached
    ) -> Callable[[], None]:
        """Call `reached` once, when every request is at the goal or has ended.

        It is told whether all are at the goal, and the state of the version that decided each.
        The latest version of a name is any that is at the goal, and only where there is none, the
        highest that has ended. Called at once where that is so already. Returns what stops it.
        """
        wait = _Wait(requests, goal, reached)
        with self._changed:
            self._waiting.append(wait)
        self._settle()
        return lambda: self._stop_waiting(wait)

    def wait_until_servables_reach_state(
        self,
        requests: Sequence[ServableRequest],
        goal: ManagerState,
        timeout_seconds: float,
    ) -> tuple[bool, Mapping[ServableId, ManagerState]]:
        """Block until the same, or the time is up: then (False, what is decided so far)."""
        done = threading.Event()
        answers: list[tuple[bool, Mapping[ServableId, ManagerState]]] = []

        def reached(is_reached: bool, states: Mapping[ServableId, ManagerState]) -> None:
            answers.append((is_reached, states))
            done.set()

        stop = self.notify_when_servables_reach_state(requests, goal, reached)
        done.wait(timeout_seconds)
        stop()
        if answers:
            return answers[0]
        with self._changed:
            return False, _Wait(requests, goal, reached).decided(self._states)

    def _take(self, event: StateAndTime) -> None:
        servable_id = event.event.id
        with self._changed:
            states = self._states.setdefault(servable_id.name, {})
            # Taken out first: the dict's order is then that of the last events.
            states.pop(servable_id.version, None)
            states[servable_id.version] = event
            self._forget_oldest_ended(states)
            self._log.append(event)
        self._settle()

    def _forget_oldest_ended(self, states: dict[int, StateAndTime]) -> None:
        ended = [
            version
            for version, state in states.items()
            if state.event.manager_state is ManagerState.END
        ]
        for version in ended[: max(0, len(ended) - self._max_ended_versions)]:
            del states[version]

    def _settle(self) -> None:
        """Call those whose wait is over, outside of the lock: they may ask anything of us."""
        with self._changed:
            over = [(wait, wait.answer(self._states)) for wait in self._waiting]
            over = [(wait, answer) for wait, answer in over if answer is not None]
            for wait, _ in over:
                self._waiting.remove(wait)
        for wait, answer in over:
            assert answer is not None
            wait.reached(*answer)

    def _stop_waiting(self, wait: "_Wait") -> None:
        with self._changed:
            if wait in self._waiting:
                self._waiting.remove(wait)


class _Wait:
    """Who waits for what."""

    def __init__(
        self, requests: Sequence[ServableRequest], goal: ManagerState, reached: Reached
    ) -> None:
        self._requests = requests
        self._goal = goal
        self.reached = reached

    def answer(
        self, states: Mapping[str, Mapping[int, StateAndTime]]
    ) -> tuple[bool, Mapping[ServableId, ManagerState]] | None:
        """Return what to say, None while some request is undecided."""
        decided = self.decided(states)
        if any(self._decision(request, states) is None for request in self._requests):
            return None
        return all(state is self._goal for state in decided.values()), decided

    def decided(
        self, states: Mapping[str, Mapping[int, StateAndTime]]
    ) -> dict[ServableId, ManagerState]:
        """Return the versions that have decided a request."""
        found = [self._decision(request, states) for request in self._requests]
        return {state.id: state.manager_state for state in found if state is not None}

    def _decision(
        self, request: ServableRequest, states: Mapping[str, Mapping[int, StateAndTime]]
    ) -> ServableState | None:
        versions = states.get(request.name, {})
        wanted = versions if request.version is None else [request.version]
        in_order = sorted((version for version in wanted if version in versions), reverse=True)
        candidates = [versions[version].event for version in in_order]
        for state in (self._goal, ManagerState.END):
            for candidate in candidates:
                if candidate.manager_state is state:
                    return candidate
        return None
