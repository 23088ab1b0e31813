"""Ends a process whose stop hangs, from outside of the interpreter.

A client library may hold the interpreter's lock while it waits for good, as librdkafka was seen to
do in `close`: then no Python thread runs any more, and no signal handler. `faulthandler` has a
thread in C that needs no lock: it writes every thread's traceback and ends the process.
"""

import faulthandler
import os
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

# For what is closed after the stages have finished: each has a limit of its own, which together
# come to less.
CLOSE_SECONDS = 60.0


def _arm(seconds: float) -> None:
    faulthandler.dump_traceback_later(seconds, exit=True, file=_traceback_descriptor())


def _traceback_descriptor() -> int:
    """Return standard error's, or the null device's: to end the process matters more."""
    try:
        return sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):  # none, replaced by an object, or closed
        return os.open(os.devnull, os.O_WRONLY)


@contextmanager
def stop_watchdog(
    stop: threading.Event,
    limit_seconds: float,
    arm: Callable[[float], None] = _arm,
    disarm: Callable[[], None] = faulthandler.cancel_dump_traceback_later,
) -> Generator[None]:
    """Give the body so long to end once `stop` is set, or once it ends by itself.

    The stop's beginning is seen by a thread of its own: the main one may hang already.
    """
    ended = threading.Event()

    def follow() -> None:
        stop.wait()
        if not ended.is_set():
            arm(limit_seconds)

    thread = threading.Thread(target=follow, name="topicserve-stop-watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        stop.set()
        thread.join()
        disarm()
