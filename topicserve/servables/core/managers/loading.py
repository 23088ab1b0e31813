"""Brings versions from requested to ready, or to their end (the load half of basic_manager.h)."""

import time
from collections.abc import Callable

from topicserve.servables.core.concurrency.executor import Executor
from topicserve.servables.core.concurrency.retry import RetriedCall, RetryPolicy
from topicserve.servables.core.concurrency.timer import Timer
from topicserve.servables.core.errors import CancelledError, ServableError
from topicserve.servables.core.managers.loader_harness import HarnessState, LoaderHarness
from topicserve.servables.core.managers.managed_servables import ManagedServables
from topicserve.servables.core.resources.admission import Admission
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_state import ManagerState

Done = Callable[[ServableError | None], None]
PreLoadHook = Callable[[ServableId], None]


class Loading:
    """Loads versions side by side. Any thread may call it; no call waits for a load."""

    def __init__(
        self,
        managed: ManagedServables,
        executor: Executor,
        timer: Timer,
        retry: RetryPolicy,
        admission: Admission | None = None,
        pre_load_hook: PreLoadHook | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.managed = managed
        self.executor = executor
        self.timer = timer
        self.retry = retry
        self.admission = admission
        self.pre_load_hook = pre_load_hook
        self.clock = clock
        self._loads: dict[ServableId, _Load] = {}

    def request(self, servable_id: ServableId, done: Done) -> None:
        """Load a version; `done` hears once how that ended, perhaps before this returns."""
        try:
            with self.managed.lock:
                harness = self.managed.get(servable_id)
                harness.load_requested()
                load = self._loads[servable_id] = _Load(self, harness, done)
        except ServableError as error:
            done(error)
            return
        load.start()

    def cancel(self, servable_id: ServableId) -> None:
        """Do not load the version after all, or do not try again.

        A load in progress goes on, and is undone when it succeeds.
        """
        with self.managed.lock:
            load = self._loads.get(servable_id)
        if load is not None:
            load.cancel()

    def cancel_all(self) -> None:
        """Do so with all loads."""
        with self.managed.lock:
            ids = list(self._loads)
        for servable_id in ids:
            self.cancel(servable_id)

    def reconsider(self) -> None:
        """Look again for room: something was released. The manager's lock is held."""
        if self.admission is not None:
            self.admission.reconsider()

    def ended(self, harness: LoaderHarness) -> None:
        """Forget a load. The manager's lock is held."""
        del self._loads[harness.id]


class _Load:
    """One version's way: estimate, wait for room, load; each with its own tries."""

    def __init__(self, loading: Loading, harness: LoaderHarness, done: Done) -> None:
        self.harness = harness
        self._loading = loading
        self._managed = loading.managed
        self._done = done
        self._started = loading.clock()
        self._has_begun = False
        what = f"estimating what {harness.id} takes"
        self._estimate = self._retried(what, harness.estimate, self._estimated)
        self._load = self._retried(f"loading {harness.id}", self._load_once, self._finish)

    def start(self) -> None:
        if self._loading.admission is not None:
            self._estimate.start()
            return
        with self._managed.lock:
            self.approved()

    def cancel(self) -> None:
        self.harness.cancel_load()
        admission = self._loading.admission
        with self._managed.lock:
            is_waiting = admission is not None and admission.withdraw(self)
        if is_waiting:
            self.denied(self._cancelled())
        self._estimate.cancel()
        self._load.cancel()

    def approved(self) -> None:
        """There is room."""
        self.harness.load_approved()
        self._load.start()

    def denied(self, error: ServableError) -> None:
        """There is none. Ends elsewhere: the caller holds the lock."""
        self._submit(lambda: self._finish(error))

    def _estimated(self, error: ServableError | None) -> None:
        if error is not None:
            prefix = "Error while attempting to reserve resources to load servable"
            self._finish(type(error)(f"{prefix} {self.harness.id}: {error}"))
            return
        admission = self._loading.admission
        assert admission is not None
        with self._managed.lock:
            # Looked at under the lock: who cancels later finds it waiting.
            if self.harness.is_cancelled:
                self.denied(self._cancelled())
            else:
                admission.apply(self)

    def _load_once(self) -> None:
        if not self._has_begun:
            self._begin()
        self.harness.load()

    def _begin(self) -> None:
        self._has_begun = True
        self._started = self._loading.clock()  # again: the wait for a thread is no part of the load
        with self._managed.lock:
            self.harness.begin_load()
            self._managed.emit(self.harness, ManagerState.LOADING)
        self._managed.deliver()
        if self._loading.pre_load_hook is not None:
            self._loading.pre_load_hook(self.harness.id)

    def _finish(self, error: ServableError | None) -> None:
        seconds = self._loading.clock() - self._started
        with self._managed.lock:
            if error is None:
                self.harness.loaded()
                self._managed.publish()
                self._managed.emit(self.harness, ManagerState.AVAILABLE, seconds=seconds)
            else:
                # A cancelled load that was undone has its error already.
                if self.harness.error is None:
                    self.harness.fail(error)
                elif self.harness.state is HarnessState.UNLOADING:
                    self.harness.unloaded()
                self._managed.emit(self.harness, ManagerState.END, self.harness.error, seconds)
            self._loading.ended(self.harness)
            self._loading.reconsider()
        self._managed.deliver()
        self._done(error)

    def _cancelled(self) -> ServableError:
        return CancelledError(f"loading {self.harness.id} was cancelled: it is no longer aspired")

    def _retried(self, what: str, call: Callable[[], None], finished: Done) -> RetriedCall:
        loading = self._loading
        return RetriedCall(what, call, self._submit, loading.timer, loading.retry, finished)

    def _submit(self, work: Callable[[], None]) -> None:
        self._loading.executor.submit(self.harness.id.name, work)
