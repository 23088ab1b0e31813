"""Managers under test, with what they are watched through."""

from dataclasses import replace
from typing import Any

from tests.support.servables.lifecycle import FakeLoader, ManualTimer, Threads, a_version, load
from topicserve.servables.core.concurrency.event_bus import EventBus
from topicserve.servables.core.concurrency.retry import RetryPolicy
from topicserve.servables.core.managers.basic_manager import BasicManager, BasicManagerOptions
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_state import ManagerState, ServableState
from topicserve.servables.core.servable_state_monitor import ServableStateMonitor

A, B = "kServableName", "kServableName2"


class Watched:
    """Options for a manager, and a monitor on its bus."""

    def __init__(self, threads: Threads, retry: RetryPolicy | None = None) -> None:
        self.threads = threads
        self.timer = ManualTimer()
        self.bus: EventBus[ServableState] = EventBus(self.timer.clock)
        self.monitor = ServableStateMonitor(self.bus, max_log_events=1000)
        self.options = BasicManagerOptions(
            load_executor=threads.load,
            unload_executor=threads.unload,
            timer=self.timer,
            clock=self.timer.clock,
            event_bus=self.bus,
            retry=retry or RetryPolicy(max_retries=10, interval_seconds=0),
            release_memory=lambda: None,
        )

    def options_with(self, **changes: Any) -> BasicManagerOptions:
        """Return the options, changed."""
        return replace(self.options, **changes)

    def state(self, name: str, version: int) -> ManagerState | None:
        """Return what was heard last of a version."""
        state = self.monitor.state(ServableId(name, version))
        return None if state is None else state.manager_state

    def states(self, name: str, version: int) -> list[ManagerState]:
        """Return all states of a version, as they came."""
        servable_id = ServableId(name, version)
        return [
            one.event.manager_state for one in self.monitor.log() if one.event.id == servable_id
        ]


class TwoByTwo(Watched):
    """BasicManager as TF Serving's tests have it: versions 1 and 2 of two streams are loaded."""

    def __init__(self, threads: Threads, retry: RetryPolicy | None = None, **options: Any) -> None:
        super().__init__(threads, retry)
        self.manager = BasicManager(self.options_with(**options))
        self.loaders = {
            ServableId(name, version): FakeLoader() for name in (A, B) for version in (1, 2)
        }
        for servable_id, loader in self.loaders.items():
            self.manager.manage(a_version(*servable_id, loader))
            assert load(self.manager, threads, servable_id) is None
