"""Loads and unloads what it is told to (TF Serving: core/basic_manager.h).

It decides nothing: AspiredVersionsManager and CachingManager tell it what to load and unload.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from topicserve.servables.core.concurrency.event_bus import EventBus
from topicserve.servables.core.concurrency.executor import Executor, ThreadPoolExecutor
from topicserve.servables.core.concurrency.retry import RetryPolicy
from topicserve.servables.core.concurrency.timer import Timer, TimerThread
from topicserve.servables.core.errors import ServableError
from topicserve.servables.core.loader import Loader
from topicserve.servables.core.manager import ServingManager
from topicserve.servables.core.managers.loader_harness import HarnessState, ServableStateSnapshot
from topicserve.servables.core.managers.loading import Done, Loading, PreLoadHook
from topicserve.servables.core.managers.managed_servables import ManagedServables
from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.managers.serving_map import ServingMap
from topicserve.servables.core.managers.unloading import Unloading
from topicserve.servables.core.resources.admission import Admission, OnInsufficientResources
from topicserve.servables.core.resources.memory import release_freed_memory
from topicserve.servables.core.resources.resource_tracker import ResourceTracker
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_state import ServableState

_logger = logging.getLogger(__name__)

_UNDER_WAY = frozenset(HarnessState) - {
    *(HarnessState.NEW, HarnessState.READY, HarnessState.DISABLED, HarnessState.ERROR)
}


def _nothing(error: ServableError | None) -> None:
    """Hear how a load or unload ended: the event says it as well."""


@dataclass(frozen=True)
class BasicManagerOptions:
    """How a manager loads and unloads."""

    num_load_threads: int = 2
    num_unload_threads: int = 2
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    event_bus: EventBus[ServableState] = field(default_factory=EventBus)
    resource_tracker: ResourceTracker | None = None
    """Without one, there is room for everything."""
    on_insufficient_resources: OnInsufficientResources = OnInsufficientResources.FAIL
    pre_load_hook: PreLoadHook | None = None
    """Called with the id on the loading thread, before each version's first try."""
    release_memory: Callable[[], None] = release_freed_memory
    """Called after each unload."""
    clock: Callable[[], float] = time.monotonic
    timer: Timer | None = None
    """For the pauses between tries; None: a thread of the manager's own."""
    load_executor: Executor | None = None
    """Where to load; None: `num_load_threads` threads of the manager's own. Likewise to unload."""
    unload_executor: Executor | None = None


class BasicManager(ServingManager):
    """Loads, serves and unloads versions, each when told to.

    Any thread may call it, and only `close` blocks: loads and unloads run on threads of the
    executors, and `done` is called on one of those, or on the caller's. One lock guards the
    harnesses and what requests find (see ManagedServables); no loader is called under it.
    NotFoundError says that a version is not managed, FailedPreconditionError that it is not in a
    state for that call: the caller's mistake, or another caller was first.
    """

    def __init__(
        self,
        options: BasicManagerOptions | None = None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        options = options or BasicManagerOptions()
        self._managed = ManagedServables(options.event_bus, changed)
        super().__init__(self._managed.serving)
        self._closers: list[Callable[[float], object]] = []
        load_executor, unload_executor = options.load_executor, options.unload_executor
        if load_executor is None:
            load_executor = self._own_pool(options.num_load_threads, "servable-load")
        if unload_executor is None:
            unload_executor = self._own_pool(options.num_unload_threads, "servable-unload")
        self._load_executor = load_executor
        admission = None
        if options.resource_tracker is not None:
            admission = Admission(
                self._managed, options.resource_tracker, options.on_insufficient_resources
            )
        self._loading = Loading(
            self._managed,
            load_executor,
            self._own_timer() if options.timer is None else options.timer,
            options.retry,
            admission,
            options.pre_load_hook,
            options.clock,
        )
        self._unloading = Unloading(
            self._managed,
            unload_executor,
            self._loading.reconsider,
            options.release_memory,
            options.clock,
        )

    @property
    def serving(self) -> ServingMap:
        """Return what is available, for a manager above this one."""
        return self._managed.serving

    def manage(self, data: ServableData[Loader], additional_state: object = None) -> None:
        """Take a version on, without loading it.

        One that comes with an error is taken on as well, and has ended then. FailedPrecondition
        where the version is managed already: what is there stays.
        """
        self._managed.add(data, additional_state)

    def stop_managing(self, servable_id: ServableId) -> None:
        """Let go of a version that was never loaded, or has ended; FailedPrecondition otherwise."""
        self._managed.remove(servable_id)

    def load(self, servable_id: ServableId, done: Done = _nothing) -> None:
        """Load a managed version. Returns at once; `done` hears once how it ended.

        NotFoundError where it is not managed, FailedPrecondition where its load has been requested
        before, and in the end whatever the loader raises.
        """
        self._loading.request(servable_id, done)

    def unload(self, servable_id: ServableId, done: Done = _nothing) -> None:
        """Unload a ready version once its handles are closed. Returns at once, as `load` does.

        NotFoundError where it is not managed, FailedPrecondition where it is not ready.
        """
        self._unloading.request(servable_id, done)

    def cancel_load(self, servable_id: ServableId) -> None:
        """Do not load a version after all, or do not try again.

        What is waiting or pausing ends now; a try in progress is undone when it succeeds. Nothing
        happens where no load is in progress.
        """
        self._loading.cancel(servable_id)

    def get_managed_servable_names(self) -> list[str]:
        """Return the names of what is managed."""
        return self._managed.names()

    def get_managed_servable_state_snapshots(self, name: str) -> list[ServableStateSnapshot]:
        """Return the managed versions of a name as they are now."""
        return self._managed.snapshots(name)

    def get_managed_servable_state_snapshot(
        self, servable_id: ServableId
    ) -> ServableStateSnapshot | None:
        """Return a version as it is now, None where it is not managed."""
        snapshots = self._managed.snapshots(servable_id.name)
        return next((one for one in snapshots if one.id == servable_id), None)

    def set_additional_state(self, servable_id: ServableId, state: object) -> None:
        """Keep something with a version; NotFoundError where it is not managed."""
        with self._managed.lock:
            self._managed.get(servable_id).additional_state = state

    def set_num_load_threads(self, threads: int) -> None:
        """Load with so many threads from now on; what is being loaded goes on."""
        if isinstance(self._load_executor, ThreadPoolExecutor):
            self._load_executor.resize(threads)

    def cancel_calls(self) -> None:
        """Have servables that can do so end the calls that are in progress; `close` follows."""
        with self._managed.lock:
            harnesses = list(self._managed.harnesses())
        for one in harnesses:
            one.cancel_calls()

    def close(self, timeout_seconds: float) -> bool:
        """Cancel loads, unload everything, end the threads.

        Versions whose handles are still open when the time is up stay loaded, and False comes
        back: their holders may be in the middle of a call.
        """
        self._loading.cancel_all()
        deadline = time.monotonic() + timeout_seconds
        with self._managed.lock:
            is_idle = self._managed.lock.wait_for(self._unload_what_is_ready, timeout_seconds)
        if not is_idle:
            self._report_leftovers()
        for closer in self._closers:
            closer(max(0.0, deadline - time.monotonic()))
        return is_idle

    def _unload_what_is_ready(self) -> bool:
        """Ask for the unload of all that is ready; return whether nothing is left to wait for."""
        harnesses = list(self._managed.harnesses())
        ready = [one.id for one in harnesses if one.state is HarnessState.READY]
        for servable_id in ready:
            self.unload(servable_id)
        return not ready and all(one.state not in _UNDER_WAY for one in harnesses)

    def _report_leftovers(self) -> None:
        with self._managed.lock:
            left = [one.snapshot() for one in self._managed.harnesses() if one.state in _UNDER_WAY]
        for one in left:
            _logger.warning("closed with %s still in state %s", one.id, one.state.value)

    def _own_pool(self, threads: int, name: str) -> Executor:
        pool = ThreadPoolExecutor(threads, name)
        self._closers.append(pool.close)
        return pool

    def _own_timer(self) -> Timer:
        timer = TimerThread("servable-retries")
        self._closers.append(lambda _: timer.close())
        return timer
