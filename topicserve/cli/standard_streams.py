"""Standard input, output and error where they are closed, as a daemon's may be, or cannot be used.

Without care the next socket or file gets the number 0, 1 or 2, and a library that writes to
standard error writes into it.
"""

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager

from topicserve.cli.errors import UsageError

DESCRIPTORS = (0, 1, 2)


def reserve() -> None:
    """Open the null device for each descriptor that is closed.

    Python has set `sys.stdin`, `sys.stdout` or `sys.stderr` to None then. The first two stay so,
    and a command that needs one says so; `print` to the second does nothing. What is written to
    standard error is dropped.
    """
    for descriptor in DESCRIPTORS:
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is given, and those below are open by now.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stderr is None:
        # Otherwise `print(file=sys.stderr)` would print to standard output.
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 - for as long as the process lives


def drop_output() -> None:
    """Drop what is left in standard output's buffer: it would fail once more at the exit."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def need_output() -> None:
    """Raise UsageError where standard output is closed."""
    if sys.stdout is None:
        raise UsageError("standard output is closed, so nothing can be printed")


def write_output(data: bytes, *, flush: bool = False) -> None:
    """Write to standard output; raise UsageError where it takes no more, as on a full disk.

    BrokenPipeError passes: the reader has gone, which is no error. What is not flushed may be
    written later, or with the next call.
    """
    with _written():
        sys.stdout.buffer.write(data)
        if flush:
            sys.stdout.buffer.flush()


def print_output(text: str) -> None:
    """Print text to standard output at once; raises as `write_output` does."""
    with _written():
        sys.stdout.write(text)
        sys.stdout.flush()


@contextmanager
def _written() -> Generator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        drop_output()
        raise UsageError(f"standard output: {error.strerror or error}") from error
