"""`topicserve config show`: the effective configuration with its sources, secrets hidden."""

import argparse
import os
from collections.abc import Iterator
from typing import NamedTuple

from topicserve.cli.config.flags import add_config_arguments, flags_of
from topicserve.cli.standard_streams import need_output, write_output
from topicserve.cli.terminal import write_json, write_line
from topicserve.printable import printable
from topicserve.worker.config.loading import LoadedConfig, load_with_sources
from topicserve.worker.config.shown import shown_configuration

EXAMPLE = "example: topicserve config show --config worker.toml --changed"
DEFAULT = "default"


class ShownKey(NamedTuple):
    """One key."""

    key: str
    value: str
    source: str
    """The file, the variable or the flag; DEFAULT where none gave it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags: those of the worker, which say what it would be told."""
    add_config_arguments(parser)
    parser.add_argument("--changed", action="store_true", help="leave out what is at its default")
    parser.add_argument("--json", action="store_true", help="one line of JSON for each key")


def run(arguments: argparse.Namespace) -> int:
    """Print each key; ConfigError for a configuration that a worker would refuse.

    Secrets are shown as such only. Nothing is asked of a server.
    """
    need_output()
    loaded = load_with_sources(arguments.config, os.environ, flags_of(arguments))
    rows = [row for row in rows_of(loaded) if not arguments.changed or row.source != DEFAULT]
    if arguments.json:
        for row in rows:
            write_json(row._asdict())
    else:
        for line in _text_lines(rows):
            write_line(line)
    write_output(b"", flush=True)
    return 0


def rows_of(loaded: LoadedConfig) -> Iterator[ShownKey]:
    """Yield the keys in the order of the documentation."""
    for key, value in shown_configuration(loaded.config).items():
        yield ShownKey(key, value, loaded.sources.get(key, DEFAULT))


def _text_lines(rows: list[ShownKey]) -> Iterator[str]:
    key_width = max((len(row.key) for row in rows), default=0)
    value_width = min(max((len(row.value) for row in rows), default=0), 60)
    for row in rows:
        yield f"{row.key:<{key_width}}  {printable(row.value):<{value_width}}  {row.source}"
