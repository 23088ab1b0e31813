"""The flags of `topicserve replay`.

The worker's own flags that mean the same for a replay keep their names, `plan.py` says which keys a
replay changes besides.
"""

import argparse
from pathlib import Path

from topicserve.cli.config.flags import add_key_arguments
from topicserve.cli.errors import UsageError
from topicserve.cli.replay.bounds import read_bound
from topicserve.worker.config.flags import FLAGS

EXAMPLE = (
    "example: topicserve replay --config worker.toml --topic digits --from 7d \\\n"
    "             --servable digits=7 --output-topic digits.v7 --compare differences.jsonl"
)
# Of the worker's flags those that mean the same here.
_WORKERS = {
    "--bootstrap-servers",
    "--client",
    "--redis-url",
    "--key-prefix",
    "--create-topics",
    "--max-batch-size",
    "--guarantee",
    "--startup-timeout-seconds",
    "--shutdown-timeout-seconds",
    "--http-host",
    "--http-port",
    "--log-format",
}
SHARED_FLAGS = tuple(flag for flag in FLAGS if flag.name in _WORKERS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.epilog = EXAMPLE
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="the worker's own: its servables and settings"
    )
    parser.add_argument("--topic", required=True, metavar="T", help="whose records are replayed")
    parser.add_argument(
        "--from",
        dest="start",
        type=lambda typed: read_bound("--from", "earliest", typed),
        required=True,
        metavar="WHEN",
        help="the first record: a time in RFC 3339, an age such as 7d, earliest, or offsets "
        "such as 0:17,1:20 (PARTITION:OFFSET)",
    )
    parser.add_argument(
        "--to",
        dest="end",
        type=lambda typed: read_bound("--to", "latest", typed),
        default="latest",
        metavar="WHEN",
        help="where to end, not included: as --from; latest is the end of the topic now "
        "(%(default)s)",
    )
    parser.add_argument(
        "--servable",
        type=_servable,
        metavar="NAME[=VERSION|LABEL]",
        help="only records for this servable; with a version or label, that version answers all",
    )
    parser.add_argument("--output-topic", required=True, metavar="U", help="where results go")
    parser.add_argument(
        "--dead-letter-topic", metavar="T", help="where dead letters go (U.dead-letter)"
    )
    parser.add_argument(
        "--group", metavar="G", help="the consumer group; replicas share it (made of the flags)"
    )
    parser.add_argument(
        "--compare",
        type=Path,
        metavar="FILE",
        help="write the differences to the results that were published then; JSON Lines",
    )
    parser.add_argument(
        "--force", action="store_true", help="overwrite the file of --compare if it exists"
    )
    parser.add_argument(
        "--live-topic",
        metavar="T",
        help="where the worker publishes (topics.output of the configuration); refused as output",
    )
    parser.add_argument("--verbose", action="store_true", help="log as a worker does")
    parser.add_argument("--json", action="store_true", help="the account as one line of JSON")
    add_key_arguments(parser, SHARED_FLAGS)


def _servable(typed: str) -> tuple[str, str]:
    """Return the name, and the version or label; empty where none is given."""
    name, equals, version = typed.partition("=")
    if not name or (equals and not version):
        raise UsageError(f"--servable: must be NAME or NAME=VERSION or NAME=LABEL, found {typed!r}")
    return name, version
