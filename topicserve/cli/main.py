"""The program `topicserve`: obeys signals before it imports what it is to run.

Imports of a worker take a part of a second, and TensorFlow's several: a signal that comes then
would end a worker as if it had failed, and as a container's first process not at all, since Linux
gives that one no default handlers.
"""

import os
import signal
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 2 where a person has something to correct.

    `argv` is without the program's name; by default it is what was typed. This is the entry point
    that the installed program calls.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    command = next((word for word in words if not word.startswith("-")), None)
    if command != "worker":
        return _run(command, words)
    with _clean_exit_at_signals():
        return _run(command, words)


def _run(command: str | None, words: Sequence[str]) -> int:
    from topicserve.cli.standard_streams import reserve

    reserve()
    from topicserve.cli.commands import run_command

    return run_command(command, words)


@contextmanager
def _clean_exit_at_signals() -> Generator[None]:
    """End the process with 0: a worker that has opened nothing yet has nothing to finish."""
    try:
        before = [signal.signal(number, lambda *_: os._exit(0)) for number in SIGNALS]
    except ValueError:  # not the main thread: then the program is another's
        yield
        return
    try:
        yield
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)
