"""Loaders, threads and time that a test holds in its hand."""

import heapq
import threading
from collections import deque
from collections.abc import Callable, Sequence

from topicserve.servables.core.concurrency.executor import ThreadPoolExecutor, Work
from topicserve.servables.core.errors import ServableError
from topicserve.servables.core.loader import Loader
from topicserve.servables.core.managers.basic_manager import BasicManager
from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.resources.resource_allocation import ResourceAllocation
from topicserve.servables.core.servable_id import ServableId

LIMIT_SECONDS = 30.0
"""For waits on signals: only a fault lets one last so long."""


class Gate:
    """Where something under test stops until the test lets it go on."""

    def __init__(self) -> None:
        self._entered = threading.Event()
        self._opened = threading.Event()

    def __call__(self) -> None:
        self._entered.set()
        assert self._opened.wait(LIMIT_SECONDS), "nothing opened the gate"

    def wait_until_entered(self) -> None:
        assert self._entered.wait(LIMIT_SECONDS), "nothing came to the gate"

    @property
    def is_entered(self) -> bool:
        return self._entered.is_set()

    def open(self) -> None:
        self._opened.set()


class FakeLoader(Loader):
    """Its servable is what it is told, by default its version; `errors` are raised in turn."""

    def __init__(
        self,
        servable: object = None,
        errors: Sequence[Exception] = (),
        *,
        takes: ResourceAllocation | None = None,
        on_load: Callable[[], object] = lambda: None,
        on_unload: Callable[[], None] = lambda: None,
        on_estimate: Callable[[], None] = lambda: None,
    ) -> None:
        self._content = servable
        self._errors = deque(errors)
        self._on_load = on_load
        self._on_unload = on_unload
        self._on_estimate = on_estimate
        self._servable: object = None
        self.takes = takes or {}
        self.load_calls: list[ServableId] = []
        self.unload_calls = 0
        self.unloaded_on: threading.Thread | None = None

    @property
    def servable(self) -> object:
        return self._servable

    @property
    def is_loaded(self) -> bool:
        return self._servable is not None

    def load(self) -> None:
        raise AssertionError("the manager says which version it loads")

    def load_with_id(self, servable_id: ServableId) -> None:
        self.load_calls.append(servable_id)
        self._on_load()
        if self._errors:
            raise self._errors.popleft()
        self._servable = self._content if self._content is not None else servable_id.version

    def unload(self) -> None:
        self.unloaded_on = threading.current_thread()
        self.unload_calls += 1
        self._on_unload()
        self._servable = None

    def estimate_resources(self) -> ResourceAllocation:
        self._on_estimate()
        return self.takes


def aspire(name: str, loaders: dict[int, FakeLoader]) -> list[ServableData[Loader]]:
    """Return aspired versions of a stream, a loader each."""
    return [a_version(name, version, loader) for version, loader in loaders.items()]


def a_version(
    name: str, version: int, loader: Loader | ServableError | None = None
) -> ServableData[Loader]:
    """Return one version with a loader, or with an error."""
    servable_id = ServableId(name, version)
    if isinstance(loader, ServableError):
        return ServableData.failed(servable_id, loader)
    return ServableData(servable_id, loader or FakeLoader())


class ManualExecutor:
    """Runs what was submitted when the test says so, on the test's thread."""

    def __init__(self) -> None:
        self._work: deque[Work] = deque()

    def submit(self, stream: str, work: Work) -> None:  # noqa: ARG002
        self._work.append(work)

    def close(self, timeout_seconds: float) -> bool:  # noqa: ARG002
        return True

    def run_one(self) -> None:
        self._work.popleft()()

    def settle(self) -> None:
        """Run all, also what comes in meanwhile."""
        while self._work:
            self.run_one()

    def __len__(self) -> int:
        return len(self._work)


class TrackedThreads:
    """Real threads, and a way to wait until they have nothing to do."""

    def __init__(self, threads: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(threads, name)
        self._changed = threading.Condition()
        self._pending = 0

    def submit(self, stream: str, work: Work) -> None:
        with self._changed:
            self._pending += 1
        self._pool.submit(stream, lambda: self._run(work))

    def close(self, timeout_seconds: float) -> bool:
        return self._pool.close(timeout_seconds)

    def settle(self) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: not self._pending, LIMIT_SECONDS)

    def _run(self, work: Work) -> None:
        try:
            work()
        finally:
            with self._changed:
                self._pending -= 1
                self._changed.notify_all()

    def __len__(self) -> int:
        with self._changed:
            return self._pending


class Threads:
    """Where a manager under test loads and unloads: by the test's hand, or on real threads."""

    def __init__(self, kind: str) -> None:
        if kind == "by hand":
            self.load: ManualExecutor | TrackedThreads = ManualExecutor()
            self.unload: ManualExecutor | TrackedThreads = ManualExecutor()
        else:
            self.load = TrackedThreads(4, "load")
            self.unload = TrackedThreads(4, "unload")

    def settle(self) -> None:
        """Have all loads and unloads done, as far as nothing stops them."""
        while len(self.load) or len(self.unload):
            self.load.settle()
            self.unload.settle()

    def close(self) -> None:
        for executor in (self.load, self.unload):
            assert executor.close(LIMIT_SECONDS)


class ManualTimer:
    """Time passes when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = 0

    def clock(self) -> float:
        return self.now

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Callable[[], bool]:
        self._numbers += 1
        call = (self.now + seconds, self._numbers, callback)
        heapq.heappush(self._calls, call)
        return lambda: self._cancel(call)

    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        while self._calls and self._calls[0][0] <= until:
            self.now, _, callback = heapq.heappop(self._calls)
            callback()
        self.now = until

    @property
    def pauses(self) -> list[float]:
        """Return in how many seconds calls are due."""
        return [due - self.now for due, _, _ in sorted(self._calls)]

    def _cancel(self, call: tuple[float, int, Callable[[], None]]) -> bool:
        if call not in self._calls:
            return False
        self._calls.remove(call)
        heapq.heapify(self._calls)
        return True


class Outcome:
    """Hears how a load or unload ended."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self.error: ServableError | None = None
        self.times = 0

    def __call__(self, error: ServableError | None) -> None:
        self.error = error
        self.times += 1
        self._ended.set()

    @property
    def is_ended(self) -> bool:
        return self._ended.is_set()

    def wait(self) -> ServableError | None:
        assert self._ended.wait(LIMIT_SECONDS), "it never ended"
        return self.error


def load(manager: BasicManager, threads: Threads, servable_id: ServableId) -> ServableError | None:
    """Load a version and return how that ended."""
    outcome = Outcome()
    manager.load(servable_id, outcome)
    threads.settle()
    return outcome.wait()


def unload(
    manager: BasicManager, threads: Threads, servable_id: ServableId
) -> ServableError | None:
    """Unload a version and return how that ended."""
    outcome = Outcome()
    manager.unload(servable_id, outcome)
    threads.settle()
    return outcome.wait()


def run_in_thread(work: Callable[[], None]) -> threading.Thread:
    """Run work beside the test; join it with LIMIT_SECONDS."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread
