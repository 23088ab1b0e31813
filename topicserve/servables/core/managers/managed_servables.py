"""What a manager manages: the common ground of loading and unloading."""

import threading
from collections.abc import Callable, Iterator

from topicserve.servables.core.concurrency.event_bus import EventBus
from topicserve.servables.core.errors import FailedPreconditionError, NotFoundError, ServableError
from topicserve.servables.core.loader import Loader
from topicserve.servables.core.managers.loader_harness import (
    SERVES,
    HarnessState,
    LoaderHarness,
    ServableStateSnapshot,
)
from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.managers.serving_map import ServingMap
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_state import ManagerState, ServableState

_NOT_IN_USE = (HarnessState.NEW, HarnessState.DISABLED, HarnessState.ERROR)


class ManagedServables:
    """The harnesses by id, the map that serves, and the order of events.

    A state that others can see changes under `lock`, in the same stretch in which its event gets
    its place on the bus, so that the events of a version come in the order of its states. `deliver`
    follows when the lock is free again. No loader is called under the lock.
    """

    def __init__(self, bus: EventBus[ServableState], changed: Callable[[], None]) -> None:
        self.lock = threading.Condition()
        self.serving = ServingMap()
        self._bus = bus
        self._changed = changed
        self._harnesses: dict[str, dict[int, LoaderHarness]] = {}

    def add(self, data: ServableData[Loader], additional_state: object) -> None:
        """Take a version on; FailedPreconditionError where it is managed already."""
        servable_id = data.id
        with self.lock:
            versions = self._harnesses.setdefault(servable_id.name, {})
            if servable_id.version in versions:
                raise FailedPreconditionError(f"This servable is already being managed: {data.id}")
            harness = versions[servable_id.version] = LoaderHarness(data, additional_state)
            self.emit(harness, ManagerState.END if data.error else ManagerState.START, data.error)
        self.deliver()

    def remove(self, servable_id: ServableId) -> None:
        """Let go of one that is not in use; FailedPreconditionError otherwise."""
        with self.lock:
            harness = self.find(servable_id)
            if harness is None or harness.state not in _NOT_IN_USE:
                state = "not managed" if harness is None else harness.state.value
                raise FailedPreconditionError(f"Cannot stop managing {servable_id}: it is {state}")
            versions = self._harnesses[servable_id.name]
            del versions[servable_id.version]
            if not versions:
                del self._harnesses[servable_id.name]

    def find(self, servable_id: ServableId) -> LoaderHarness | None:
        """Return a version's harness."""
        return self._harnesses.get(servable_id.name, {}).get(servable_id.version)

    def get(self, servable_id: ServableId) -> LoaderHarness:
        """Return a version's harness, or raise NotFoundError."""
        harness = self.find(servable_id)
        if harness is None:
            raise NotFoundError(f"This servable is not being managed by the manager: {servable_id}")
        return harness

    def harnesses(self) -> Iterator[LoaderHarness]:
        """Yield all. The caller holds the lock."""
        for versions in self._harnesses.values():
            yield from versions.values()

    def names(self) -> list[str]:
        """Return the names of what is managed."""
        with self.lock:
            return list(self._harnesses)

    def snapshots(self, name: str) -> list[ServableStateSnapshot]:
        """Return the versions of a name as they are now."""
        with self.lock:
            return [harness.snapshot() for harness in self._harnesses.get(name, {}).values()]

    def emit(
        self,
        harness: LoaderHarness,
        state: ManagerState,
        error: ServableError | None = None,
        seconds: float | None = None,
    ) -> None:
        """Give the event its place. The caller holds the lock, and calls `deliver` without it."""
        self._bus.add(
            ServableState(
                harness.id, state, error, harness.generation, harness.load_attempts, seconds
            )
        )

    def publish(self) -> None:
        """Let requests find what serves now. The caller holds the lock."""
        self.serving.publish(
            harness.pinned
            for harness in self.harnesses()
            if harness.pinned is not None and harness.state in SERVES
        )

    def deliver(self) -> None:
        """Bring events to the subscribers, and say that something changed."""
        self._bus.deliver()
        with self.lock:
            self.lock.notify_all()
        self._changed()
