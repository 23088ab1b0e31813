"""Random sequences of aspired versions, failures and held handles, and what always holds."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.servables.lifecycle import FakeLoader, ManualExecutor, ManualTimer, a_version
from tests.support.stages.examples import examples
from topicserve.servables.core.concurrency.event_bus import EventBus
from topicserve.servables.core.concurrency.retry import RetryPolicy
from topicserve.servables.core.errors import NotFoundError, UnavailableError
from topicserve.servables.core.managers.aspired_versions_manager import AspiredVersionsManager
from topicserve.servables.core.managers.basic_manager import BasicManagerOptions
from topicserve.servables.core.policies.aspired_version_policy import AspiredVersionPolicy
from topicserve.servables.core.policies.availability_preserving_policy import (
    availability_preserving_policy,
)
from topicserve.servables.core.policies.resource_preserving_policy import resource_preserving_policy
from topicserve.servables.core.servable_handle import ServableHandle
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_request import ServableRequest
from topicserve.servables.core.servable_state import ManagerState, ServableState
from topicserve.servables.core.servable_state_monitor import ServableStateMonitor

STREAMS = st.sampled_from(["a", "b"])
VERSIONS = st.integers(0, 4)
MAX_RETRIES = 1


class ManagerMachine(RuleBasedStateMachine):
    """Drives a manager by hand: every load, unload, pause and step is a rule of its own."""

    policy: AspiredVersionPolicy = staticmethod(availability_preserving_policy)

    def __init__(self) -> None:
        super().__init__()
        self.load_executor, self.unload_executor = ManualExecutor(), ManualExecutor()
        self.timer = ManualTimer()
        self.bus: EventBus[ServableState] = EventBus(self.timer.clock)
        self.monitor = ServableStateMonitor(self.bus)
        self.aspired: dict[str, set[int]] = {}
        self.loaders: list[tuple[ServableId, FakeLoader]] = []
        self.handles: list[tuple[ServableHandle[Any], FakeLoader]] = []
        self.lives: dict[tuple[ServableId, int], list[ManagerState]] = {}

    @initialize()
    def begin(self) -> None:
        self.bus.subscribe(lambda event: self._hear(event.event))
        self.manager = AspiredVersionsManager(
            BasicManagerOptions(
                load_executor=self.load_executor,
                unload_executor=self.unload_executor,
                timer=self.timer,
                event_bus=self.bus,
                retry=RetryPolicy(MAX_RETRIES, interval_seconds=1),
                release_memory=lambda: None,
            ),
            self.policy,
            reload_servables_with_error=True,
        )

    @rule(name=STREAMS, versions=st.sets(VERSIONS, max_size=3), failures=st.integers(0, 3))
    def aspire(self, name: str, versions: set[int], failures: int) -> None:
        """Aspire versions with new loaders, that fail so many times before they load."""
        self.aspired[name] = versions
        self._say(name, failures)

    @rule()
    def step(self) -> None:
        self.manager.step_once()

    @precondition(lambda self: len(self.load_executor) > 0)
    @rule()
    def run_load(self) -> None:
        self.load_executor.run_one()

    @precondition(lambda self: len(self.unload_executor) > 0)
    @rule()
    def run_unload(self) -> None:
        self.unload_executor.run_one()

    @rule()
    def pass_time(self) -> None:
        self.timer.advance(1)

    @rule(name=STREAMS, version=st.none() | VERSIONS)
    def take_handle(self, name: str, version: int | None) -> None:
        try:
            handle = self.manager.get_servable_handle(ServableRequest(name, version))
        except NotFoundError:
            return
        self.handles.append((handle, handle.servable))

    @precondition(lambda self: self.handles)
    @rule(data=st.data())
    def close_handle(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.handles) - 1))
        handle, _ = self.handles.pop(index)
        handle.close()

    @invariant()
    def held_servables_are_loaded(self) -> None:
        """Never unload a handle's servable."""
        assert all(loader.is_loaded for _, loader in self.handles)

    @invariant()
    def one_loader_a_version(self) -> None:
        """At most one is loaded at a time."""
        loaded = [servable_id for servable_id, loader in self.loaders if loader.is_loaded]
        assert len(loaded) == len(set(loaded))

    @invariant()
    def loaders_live_once(self) -> None:
        """Each loader loads and unloads at most once, and is not tried too often."""
        for _, loader in self.loaders:
            assert loader.unload_calls <= 1
            assert len(loader.load_calls) <= 2 * (MAX_RETRIES + 1)

    @invariant()
    def lives_go_forward(self) -> None:
        """Tell the states of one life in order, and nothing after its end."""
        for states in self.lives.values():
            assert states == sorted(set(states))

    def teardown(self) -> None:
        """Load in the end what is aspired and nothing else, and leave nothing behind."""
        if not hasattr(self, "manager"):
            return
        for handle, _ in self.handles:
            handle.close()
        self.handles.clear()
        self._settle(republish=True)
        aspired = {
            ServableId(name, version)
            for name, versions in self.aspired.items()
            for version in versions
        }
        assert set(self.manager.list_available_servable_ids()) == aspired
        assert {one for one, loader in self.loaders if loader.is_loaded} == aspired
        for name in self.aspired:
            self.manager.get_aspired_versions_callback()(name, [])
        self._settle(republish=False)
        assert not any(loader.is_loaded for _, loader in self.loaders)
        assert self.manager.close(0)
        super().teardown()

    def _say(self, name: str, failures: int) -> None:
        versions = []
        for version in sorted(self.aspired[name]):
            loader = HeldLoader(errors=[UnavailableError("not yet")] * failures)
            self.loaders.append((ServableId(name, version), loader))
            versions.append(a_version(name, version, loader))
        self.manager.get_aspired_versions_callback()(name, versions)

    def _settle(self, *, republish: bool) -> None:
        """Let everything come to rest; a source says again what it aspires, with good loaders."""
        for _ in range(8):
            for name in self.aspired if republish else ():
                self._say(name, failures=0)
            self.manager.step_all()
            self.load_executor.settle()
            self.unload_executor.settle()
            self.timer.advance(60)

    def _hear(self, state: ServableState) -> None:
        life = self.lives.setdefault((state.id, state.generation), [])
        life.append(state.manager_state)


class HeldLoader(FakeLoader):
    """Its servable is the loader itself, so that a handle can tell whether it is loaded."""

    def load_with_id(self, servable_id: ServableId) -> None:
        super().load_with_id(servable_id)
        self._servable = self


class ResourcePreservingMachine(ManagerMachine):
    """The same, with a gap at each swap."""

    policy = staticmethod(resource_preserving_policy)


TestAvailabilityPreserving = ManagerMachine.TestCase
TestResourcePreserving = ResourcePreservingMachine.TestCase
_SETTINGS = settings(max_examples=examples(60), stateful_step_count=40, deadline=None)
TestAvailabilityPreserving.settings = _SETTINGS
TestResourcePreserving.settings = _SETTINGS
