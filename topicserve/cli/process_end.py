"""The end of the process while threads still run, such as a prediction that has not returned.

The interpreter's own end destroys what native libraries hold, a pool of threads for one, and ends
threads as they return from native code: C++ then aborts the process, with another exit code than
the worker has logged.
"""

import atexit
import os
import sys
import threading
from collections.abc import Callable, Collection
from contextlib import suppress


def running_threads() -> set[threading.Thread]:
    """Return what runs now: threads of the program that has imported this one, if any."""
    return set(threading.enumerate())


def end_beside_threads(
    code: int,
    before: Collection[threading.Thread],
    exit_now: Callable[[int], None] = os._exit,
    run_exit_handlers: Callable[[], None] = atexit._run_exitfuncs,  # noqa: SLF001 - as the exit does
) -> None:
    """End the process with a code where threads run that did not `before`; else do nothing.

    What else happens at an exit happens first: the handlers of `atexit`, which write logs and
    traces, and the standard streams' flush.
    """
    if all(thread in before for thread in threading.enumerate()):
        return
    run_exit_handlers()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # closed, or read by no one any more
            if stream is not None:
                stream.flush()
    exit_now(code)
