"""Finds the command that was typed, runs it, and reports what went wrong in one line.

Only that command's module is imported, so `publish` never loads what a worker needs, and a module
that is missing is told with the extra to install.
"""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from importlib import import_module, metadata
from typing import Any, NoReturn

from topicserve.backends.errors import BackendError
from topicserve.cli.errors import UsageError
from topicserve.cli.standard_streams import drop_output, print_output
from topicserve.cli.terminal import say
from topicserve.exit_codes import EXIT_BROKEN_PIPE, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE
from topicserve.printable import printable
from topicserve.producer.errors import PublishError
from topicserve.servables.core.errors import ServableError
from topicserve.wire.errors import InvalidRecordError
from topicserve.worker.config.schema import ConfigError

COMMANDS = {
    "stack": "start a Kafka-protocol broker and a Redis-protocol server for development",
    "worker": "read records, predict, join their metadata, and publish results",
    "publish": "publish the records of a file, a folder or standard input",
    "results": "print results, or dead letters, as JSON Lines",
    "dead-letters": "list, show and replay records that workers gave up",
    "check": "look whether a worker could start: configuration, servers, topics, models",
    "config": "print the effective configuration, and where each value comes from",
    "status": "show lag, members, rates, dead letters, and what workers wait for",
    "replay": "answer a range of records again, with a version of your choice",
    "completion": "print a script with which a shell completes commands and flags",
    "demo": "show the whole service on handwritten digits",
}
# What each command needs beyond the bare install.
EXTRAS = {
    "stack": "embedded",
    "worker": "worker",
    "replay": "worker",
    "check": "worker",
    "demo": "demo",
}


_USAGE = (UsageError, ConfigError, BackendError, ServableError, InvalidRecordError)


def run_command(
    command: str | None, words: Sequence[str], on_loaded: Callable[[], None] = lambda: None
) -> int:
    """Run a command and return its exit code: 2 where a person has something to correct.

    `on_loaded` is called between its imports and its work.

    1 is for work that failed (a PublishError), 130 for Ctrl-C, and 141, without a word, where the
    reader of the output has gone. Any other exception passes: it is a bug, and its traceback
    belongs on the screen.
    """
    try:
        return _run(command, words, on_loaded)
    except (*_USAGE, PublishError) as error:
        say(f"topicserve: {_line(error)}")
        return EXIT_FAILED if isinstance(error, PublishError) else EXIT_USAGE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone; flushing at exit must not raise this once more.
        drop_output()
        return EXIT_BROKEN_PIPE


def _run(command: str | None, words: Sequence[str], on_loaded: Callable[[], None]) -> int:
    try:
        arguments = parser_of(command).parse_args(words)
        on_loaded()
        _configure_logging(getattr(arguments, "verbose", False))
        return int(arguments.run(arguments))
    except ModuleNotFoundError as error:
        raise _missing(command, error) from error


def _configure_logging(verbose: bool) -> None:
    """Keep to ourselves what client libraries log, many times a second while a broker is away.

    What it comes to is told in one line in the end. A worker configures its log itself.
    """
    if verbose:
        logging.basicConfig(level=logging.INFO)
    else:
        logging.lastResort = logging.NullHandler()


def parser_of(command: str | None) -> argparse.ArgumentParser:
    """Return the parser; only the command that is asked for is imported and gets its arguments.

    The tests of the documentation and `topicserve completion` read their flags from here, too.
    """
    parser = _Parser(
        prog="topicserve",
        description="TensorFlow Serving's servable lifecycle, fed by Kafka topics.",
        epilog="example: topicserve COMMAND --help",
    )
    version = f"topicserve {metadata.version('topicserve')}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        one = commands.add_parser(name, help=summary, description=sentence(summary))
        if name == command:
            _add_arguments(name, one)
    return parser


def sentence(summary: str) -> str:
    """Return a summary as a sentence; names in it keep their capitals."""
    return f"{summary[:1].upper()}{summary[1:]}."


class _Parser(argparse.ArgumentParser):
    """Shows no values of arguments that it does not know: one may be a password.

    What cannot be printed is an error, where argparse passes over it.
    """

    def _print_message(self, message: str, file: Any = None) -> None:
        if file is sys.stdout and file is not None:
            print_output(message)
        else:
            super()._print_message(message, file)

    def error(self, message: str) -> NoReturn:
        """Print how the command is used, and what is wrong; exit with 2."""
        kind, colon, words = message.partition(": ")
        if kind in ("unrecognized arguments", "ambiguous option"):
            flags = [word.partition("=")[0] for word in words.split() if word.startswith("--")]
            message = f"{kind}{colon}{' '.join(flags) or 'a word where none belongs'}"
        super().error(printable(message))


def _add_arguments(command: str, parser: argparse.ArgumentParser) -> None:
    module = import_module(f"topicserve.cli.{command.replace('-', '_')}")
    module.add_arguments(parser)
    parser.set_defaults(run=module.run)


def _missing(command: str | None, error: ModuleNotFoundError) -> Exception:
    """Return what to say about a module that is not there: its extra, unless it is one of ours."""
    if command not in EXTRAS or not error.name or error.name.startswith("topicserve"):
        return error
    return UsageError(
        f"{command} needs {error.name}, which is not installed; "
        f"run: pip install 'topicserve[{EXTRAS[command]}]'"
    )


def _line(error: Exception) -> str:
    """Return the error's text on one line."""
    return " ".join(str(error).split()) or type(error).__name__
