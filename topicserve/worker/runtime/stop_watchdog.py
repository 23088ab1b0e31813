"""Ends a process that hangs, from outside of the interpreter.

Native code may hold the interpreter's lock for good: a regular expression or an extension in a
prediction, or librdkafka in `close`. Then no Python thread runs any more, and no signal handler.
`faulthandler` has a thread in C that needs no lock: it writes every thread's traceback and ends the
process. There is one such timer in a process, set by one thread at a time: while the worker serves
and while it stops.
"""

import faulthandler
import os
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import cache

from topicserve.worker.config.schema import DeliveryConfig

# For what is closed after the stages have finished: each has a limit of its own, which together
# come to less.
CLOSE_SECONDS = 60.0

BEAT_SECONDS = 1.0
# Beyond what a prediction may take. Also the least there is: a machine that is paused for a moment,
# or a model that holds the lock while it loads, ends no worker.
FROZEN_MARGIN_SECONDS = 30.0


def frozen_limit_seconds(delivery: DeliveryConfig) -> float:
    """Return for how long no Python thread may run before the process ends itself."""
    longest = delivery.predict_timeout_seconds or delivery.stall_timeout_seconds
    return longest + FROZEN_MARGIN_SECONDS


def _arm(seconds: float) -> None:
    faulthandler.dump_traceback_later(seconds, exit=True, file=_traceback_descriptor())


def _traceback_descriptor() -> int:
    """Return standard error's, or the null device's: to end the process matters more."""
    try:
        return sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):  # none, replaced by an object, or closed
        return _null_descriptor()


@cache
def _null_descriptor() -> int:
    return os.open(os.devnull, os.O_WRONLY)


@contextmanager
def stop_watchdog(
    stop: threading.Event,
    limit_seconds: float,
    arm: Callable[[float], None] = _arm,
    disarm: Callable[[], None] = faulthandler.cancel_dump_traceback_later,
    frozen_seconds: float = FROZEN_MARGIN_SECONDS,
    beat_seconds: float = BEAT_SECONDS,
) -> Generator[Callable[[], None]]:
    """Give the body so long to end once `stop` is set, or once it ends by itself.

    The body may call what it is given when it serves: from then on until the stop, the process ends
    when no Python thread ran for `frozen_seconds`. A start may hold the lock for longer.

    The stop's beginning is seen by a thread of its own: the main one may hang already. Where that
    thread does not run either, the timer that is set goes on.
    """
    ended, serving = threading.Event(), threading.Event()
    timer = threading.Lock()

    def beat() -> None:
        with timer, suppress(RuntimeError):  # out of threads: the next beat tries again
            if not stop.is_set():
                arm(frozen_seconds)

    def serve() -> None:
        # At once: the first record that is polled may be the one that keeps the lock.
        beat()
        serving.set()

    def follow() -> None:
        while not stop.wait(beat_seconds):
            if serving.is_set():
                beat()
        if not ended.is_set():
            with timer:
                arm(limit_seconds)

    thread = threading.Thread(target=follow, name="topicserve-stop-watchdog", daemon=True)
    thread.start()
    try:
        yield serve
    finally:
        ended.set()
        stop.set()
        thread.join()
        disarm()
