"""Threads that load and unload, shared fairly among the streams."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

_logger = logging.getLogger(__name__)

Work = Callable[[], None]


class Executor(Protocol):
    """Runs work on threads of its own.

    Any thread may call it, also under a lock: calls return at once, but `close`. Work must not
    raise; what it raises all the same is logged, and the thread goes on.
    """

    def submit(self, stream: str, work: Work) -> None:
        """Run `work` later; work of one stream in order of submission. Returns at once.

        What is submitted after `close` is not run.
        """

    def close(self, timeout_seconds: float) -> bool:
        """Run what was submitted, then end the threads; False when that took too long."""


class ThreadPoolExecutor:
    """So many threads, started when there is work.

    Streams take turns, and one stream never has all threads (where there are several): however
    many versions it has to load, and however long they take, another stream's load finds one.
    """

    def __init__(self, threads: int, name: str) -> None:
        if threads < 1:
            raise ValueError(f"{name}: there must be at least one thread, found {threads}")
        self._name = name
        self._max_threads = threads
        self._changed = threading.Condition()
        # Streams with work, the one whose turn is next first. Bounded by the versions managed.
        self._queues: dict[str, deque[Work]] = {}
        self._running: dict[str, int] = {}
        self._threads: list[threading.Thread] = []
        self._queued = 0
        self._idle = 0
        self._is_closed = False

    def submit(self, stream: str, work: Work) -> None:
        """Run `work` when its stream's turn comes."""
        with self._changed:
            if self._is_closed:
                return
            self._queues.setdefault(stream, deque()).append(work)
            self._queued += 1
            self._start_threads()
            self._changed.notify()

    def resize(self, threads: int) -> None:
        """Have so many threads from now on; more than that end when they have done their work."""
        with self._changed:
            self._max_threads = max(1, threads)
            self._start_threads()
            self._changed.notify_all()

    def close(self, timeout_seconds: float) -> bool:
        """Run what was submitted, then end the threads; False when that took too long."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._threads, timeout_seconds)

    def _start_threads(self) -> None:
        missing = self._queued - self._idle
        for _ in range(min(missing, self._max_threads - len(self._threads))):
            # Daemons: a load that hangs must not keep the process from ending.
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self) -> None:
        while True:
            with self._changed:
                taken = self._wait_for_work()
                if taken is None:
                    self._threads.remove(threading.current_thread())
                    self._changed.notify_all()
                    return
            stream, work = taken
            try:
                work()
            # Not even SystemExit ends this thread: others' work waits for it.
            except BaseException:
                _logger.exception("%s: work for %r failed", self._name, stream)
            finally:
                del work, taken  # or the last version loaded would live until the next one comes
                self._finished(stream)

    def _wait_for_work(self) -> tuple[str, Work] | None:
        """Return the next work, None when there will be no more. The lock is held."""
        while True:
            if len(self._threads) > self._max_threads:
                return None
            taken = self._take()
            if taken is not None or (self._is_closed and not self._queues):
                return taken
            self._idle += 1
            self._changed.wait()
            self._idle -= 1

    def _take(self) -> tuple[str, Work] | None:
        max_per_stream = max(1, self._max_threads - 1)
        for stream, queue in list(self._queues.items()):
            if self._running.get(stream, 0) < max_per_stream:
                work = queue.popleft()
                self._queued -= 1
                # To the end of the line, with what is left.
                del self._queues[stream]
                if queue:
                    self._queues[stream] = queue
                self._running[stream] = self._running.get(stream, 0) + 1
                return stream, work
        return None

    def _finished(self, stream: str) -> None:
        with self._changed:
            self._running[stream] -= 1
            if not self._running[stream]:
                del self._running[stream]
            self._changed.notify_all()
