"""The program `topicserve`: obeys signals before it imports what it is to run.

Imports of a command take a part of a second, and TensorFlow's several: Ctrl-C then would print the
traceback of an import. A signal would end a worker as if it had failed, and as a container's first
process not at all, since Linux gives that one no default handlers.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from topicserve.cli.process_end import end_beside_threads
from topicserve.exit_codes import EXIT_INTERRUPTED, EXIT_OK

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 2 where a person has something to correct.

    `argv` is without the program's name; by default it is what was typed. This is the entry point
    that the installed program calls.
    """
    before = set(threading.enumerate())
    code = _obey(list(sys.argv[1:] if argv is None else argv))
    if argv is None:  # the process is this program's own
        end_beside_threads(code, before)
    return code


def _obey(words: Sequence[str]) -> int:
    command = next((word for word in words if not word.startswith("-")), None)
    if command == "worker":
        # One that has opened nothing yet has nothing to finish.
        with _exit_at(SIGNALS, EXIT_OK):
            return _run(command, words, on_loaded=lambda: None)
    with _exit_at((signal.SIGINT,), EXIT_INTERRUPTED) as restore:
        return _run(command, words, on_loaded=restore)


def _run(command: str | None, words: Sequence[str], on_loaded: Callable[[], None]) -> int:
    from topicserve.cli.standard_streams import reserve

    reserve()
    from topicserve.cli.commands import run_command

    return run_command(command, words, on_loaded)


@contextmanager
def _exit_at(signals: Sequence[signal.Signals], code: int) -> Generator[Callable[[], None]]:
    """End the process with a code at these signals, without the traceback of an import.

    Yields what gives them their own handlers back, which the end does, too.
    """
    before: dict[signal.Signals, Any] = {}

    def restore() -> None:
        while before:
            signal.signal(*before.popitem())

    with suppress(ValueError):  # not the main thread: then the program is another's
        for number in signals:
            before[number] = signal.signal(number, lambda *_: os._exit(code))
    try:
        yield restore
    finally:
        restore()
