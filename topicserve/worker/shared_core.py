"""The threads that run Python share one processor core.

Python runs one thread at a time, and records go from thread to thread. Left to itself the system
wakes the next thread on another core, which is idle, and whose caches hold nothing of what the
thread is about to touch. On one core the same work costs less and is done sooner. (What more cores
do to Python's threads: David Beazley, "Understanding the Python GIL", PyCon 2010.)

What is not Python's own work keeps all cores: a servable's predictions, TensorFlow's threads and
librdkafka's.
"""

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from prometheus_client import Gauge

from topicserve.worker.logging import log_event
from topicserve.worker.processor import Processor

NO_CORE = -1
LOOK_SECONDS = 0.25
# The share of a core's time that the threads use: from which on they share one, and below which
# they do no more. Threads that mostly wait are woken soonest wherever there is room.
_BUSY, _IDLE = 0.25, 0.1
# How much less of its time another core must spend on others to be worth a move, and how much
# makes no difference.
_WORTH_A_MOVE, _ALIKE = 0.25, 0.05
# Workers that meet on one core all see the same better one: each goes there by chance.
_MOVES = 0.5


@dataclass(frozen=True, slots=True)
class _Look:
    """The seconds spent by a moment: by each core, and by the threads that share one."""

    at: float
    cores: Mapping[int, float]
    threads: float


class SharedCore:
    """Keeps busy threads on the core that others use least; looks four times a second.

    `apart` may be called by any thread, the rest by one.
    """

    def __init__(
        self,
        processor: Processor | None,
        gauge: Gauge,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Do nothing without a processor. `gauge` says which core it is; -1 stands for none."""
        self._processor = processor
        self._allowed = frozenset() if processor is None else processor.allowed()
        self._gauge = gauge
        self._clock = clock
        self._chance = chance
        self._look_at = clock()
        self._last: _Look | None = None
        # Guards the three below, and which thread is told to run where.
        self._lock = threading.Lock()
        self._core: int | None = None
        self._threads: dict[int, threading.Thread] = {}
        self._apart: set[int] = set()
        gauge.set(NO_CORE)

    def join(self, threads: Iterable[threading.Thread]) -> None:
        """Keep these threads together with the others; they run already."""
        joining = {t.native_id: t for t in threads if t.native_id is not None}
        with self._lock:
            self._threads |= joining
            self._place(joining)

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Let the calling thread, and those that it starts, run on any core meanwhile."""
        thread_id = threading.get_native_id()
        with self._lock:
            self._apart.add(thread_id)
            if self._core is not None:
                self._place([thread_id])
        try:
            yield
        finally:
            with self._lock:
                self._apart.discard(thread_id)
                if self._core is not None:
                    self._place([thread_id])

    def tick(self) -> None:
        """Choose a core, or a better one, where it is time to look."""
        now = self._clock()
        if self._processor is None or now < self._look_at:
            return
        self._look_at = now + LOOK_SECONDS
        with self._lock:
            try:
                look = self._look(self._processor, now)
            except (OSError, ValueError) as error:
                self._give_up(self._processor, f"cannot see how busy cores are: {error}")
                return
            last, self._last = self._last, look
            if last is not None:
                self._heed(last, look)

    def close(self) -> None:
        """Let all threads run on any core again."""
        with self._lock:
            self._move(None)

    def _look(self, processor: Processor, now: float) -> _Look:
        threads = sum(map(processor.thread_seconds, self._threads))
        return _Look(now, processor.busy_seconds(), threads)

    def _heed(self, last: _Look, look: _Look) -> None:
        share = (look.threads - last.threads) / (look.at - last.at)
        if share < (_BUSY if self._core is None else _IDLE):
            self._move(None)
            return
        loads = self._loads(last, look)
        if loads:
            self._move(choose_core(loads, self._core, self._chance))

    def _loads(self, last: _Look, look: _Look) -> dict[int, float]:
        """Return the share of its time that each core spent on others between two looks."""
        spent = {
            core: look.cores[core] - last.cores[core]
            for core in self._allowed & look.cores.keys() & last.cores.keys()
        }
        if self._core in spent:
            spent[self._core] -= look.threads - last.threads
        return {core: max(seconds, 0.0) / (look.at - last.at) for core, seconds in spent.items()}

    def _move(self, core: int | None) -> None:
        if core != self._core:
            self._core = core
            self._gauge.set(NO_CORE if core is None else core)
            self._place(self._threads)

    def _place(self, thread_ids: Iterable[int]) -> None:
        """Tell those of the threads that are ours where to run."""
        if self._processor is None:
            return
        for thread_id in list(thread_ids):
            thread = self._threads.get(thread_id)
            if thread is None:
                continue
            if not thread.is_alive():  # its id may be another's by now
                del self._threads[thread_id]
                continue
            core = None if thread_id in self._apart else self._core
            try:
                self._processor.pin(thread_id, self._allowed if core is None else {core})
            except ProcessLookupError:
                del self._threads[thread_id]
            except OSError as error:
                self._give_up(self._processor, f"cannot tell threads where to run: {error}")
                return

    def _give_up(self, processor: Processor, problem: str) -> None:
        log_event("core_not_shared", problem=problem)
        self._processor = None
        self._gauge.set(NO_CORE)
        for thread_id in self._threads:
            with suppress(OSError):
                processor.pin(thread_id, self._allowed)


def choose_core(
    loads: Mapping[int, float], current: int | None, chance: Callable[[], float]
) -> int:
    """Return the core to share: the present one, unless another is used much less by others.

    `loads` has the share of its time that each core spends on others, `chance` returns numbers
    from 0 up to 1.
    """
    least = min(loads.values())
    if current is not None and current in loads:
        gain = loads[current] - least
        if gain < _WORTH_A_MOVE or chance() >= _MOVES:
            return current
    best = sorted(core for core, load in loads.items() if load - least <= _ALIKE)
    return best[int(chance() * len(best))]
