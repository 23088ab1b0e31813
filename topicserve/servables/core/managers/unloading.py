"""Takes versions out of service and out of memory (the unload half of basic_manager.h)."""

import logging
import time
from collections.abc import Callable

from topicserve.servables.core.concurrency.executor import Executor
from topicserve.servables.core.errors import ServableError
from topicserve.servables.core.managers.loader_harness import HarnessState, LoaderHarness
from topicserve.servables.core.managers.loading import Done
from topicserve.servables.core.managers.managed_servables import ManagedServables
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_state import ManagerState

_logger = logging.getLogger(__name__)


class Unloading:
    """Unloads versions side by side. Any thread may call it; no call waits for an unload.

    A version that still has handles holds no thread while it waits for them, so one long-held
    handle keeps nothing but its own version from being unloaded.
    """

    def __init__(
        self,
        managed: ManagedServables,
        executor: Executor,
        released: Callable[[], None],
        release_memory: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._managed = managed
        self._executor = executor
        self._released = released
        self._release_memory = release_memory
        self._clock = clock

    def request(self, servable_id: ServableId, done: Done) -> None:
        """Unload a version; `done` hears once how that ended, perhaps before this returns."""
        try:
            with self._managed.lock:
                harness = self._managed.get(servable_id)
                if harness.state is HarnessState.ERROR and harness.error is not None:
                    raise harness.error
                harness.unload_requested()
        except ServableError as error:
            done(error)
            return
        self._submit(harness, lambda: self._quiesce(harness, done))

    def _quiesce(self, harness: LoaderHarness, done: Done) -> None:
        started = self._clock()
        with self._managed.lock:
            harness.start_quiescing()
            self._managed.emit(harness, ManagerState.UNLOADING)
        self._managed.deliver()
        with self._managed.lock:
            self._managed.publish()
        pinned, harness.pinned = harness.pinned, None
        assert pinned is not None
        if pinned.open_handles:
            _logger.info("%s waits for %d handles", harness.id, pinned.open_handles)
        # The last handle may be closed on any thread; the unload itself belongs on ours.
        pinned.retire(lambda: self._submit(harness, lambda: self._unload(harness, started, done)))

    def _unload(self, harness: LoaderHarness, started: float, done: Done) -> None:
        failure: ServableError | None = None
        harness.done_quiescing()
        try:
            harness.unload()
        except ServableError as error:
            failure = error
            _logger.exception("unloading %s failed", harness.id)
        self._release_memory()
        with self._managed.lock:
            seconds = self._clock() - started
            # Under the lock, as the event: no policy sees that it is gone before listeners do.
            if failure is None:
                harness.unloaded()
            else:
                harness.fail(failure)
            self._managed.emit(harness, ManagerState.END, failure, seconds)
            self._released()
        self._managed.deliver()
        done(failure)

    def _submit(self, harness: LoaderHarness, work: Callable[[], None]) -> None:
        self._executor.submit(harness.id.name, work)
