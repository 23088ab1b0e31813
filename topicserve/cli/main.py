"""The program `topicserve`: obeys signals before it imports what it is to run.

Imports of a command take a part of a second, and TensorFlow's several: Ctrl-C then would print the
traceback of an import. A signal would end a worker as if it had failed, and as a container's first
process not at all, since Linux gives that one no default handlers.

So this module itself imports next to nothing. What remains is the interpreter's own start.
"""

import os
import signal
import sys

from topicserve.exit_codes import EXIT_INTERRUPTED, EXIT_OK

TYPE_CHECKING = False  # typing's, without the import

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main(argv: "Sequence[str] | None" = None) -> int:
    """Run a command and return its exit code: 2 where a person has something to correct.

    `argv` is without the program's name; by default it is what was typed. This is the entry point
    that the installed program calls.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    command = next((word for word in words if not word.startswith("-")), None)
    is_worker = command == "worker"
    # A worker that has opened nothing yet has nothing to finish.
    ending = _Ending(SIGNALS, EXIT_OK) if is_worker else _Ending((signal.SIGINT,), EXIT_INTERRUPTED)
    with ending:
        from topicserve.cli.process_end import end_beside_threads, running_threads

        before = running_threads()
        on_loaded = _keep_handlers if is_worker else ending.restore
        code = _run(command, words, on_loaded)
    if argv is None:  # the process is this program's own
        end_beside_threads(code, before)
    return code


def _keep_handlers() -> None:
    """Leave a worker's signals to it: it sets handlers of its own when it can stop in order."""


def _run(command: str | None, words: "Sequence[str]", on_loaded: "Callable[[], None]") -> int:
    from topicserve.cli.standard_streams import reserve

    reserve()
    from topicserve.cli.commands import run_command

    return run_command(command, words, on_loaded)


class _Ending:
    """Ends the process with a code at these signals, without the traceback of an import."""

    def __init__(self, signals: "Sequence[signal.Signals]", code: int) -> None:
        self._signals = signals
        self._code = code
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> None:
        try:
            for number in self._signals:
                self._before[number] = signal.signal(number, lambda *_: os._exit(self._code))
        except ValueError:  # not the main thread: then the program is another's
            pass

    def __exit__(self, *error: object) -> None:
        self.restore()

    def restore(self) -> None:
        """Give the signals their own handlers back."""
        while self._before:
            signal.signal(*self._before.popitem())
