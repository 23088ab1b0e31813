"""The flags of `topicserve dead-letters replay`.

`replay.py` and `selection.py` give them their meaning.
"""

import argparse

from topicserve.cli.argument_types import count, number
from topicserve.cli.connection import add_store_arguments
from topicserve.cli.dead_letters.filters import add_filter_arguments
from topicserve.cli.dead_letters.topic import add_topic_arguments

DEFAULT_MAX_ATTEMPTS = 3
MIN_RATE = 0.01


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_topic_arguments(parser)
    add_filter_arguments(parser)
    parser.add_argument("--yes", action="store_true", help="publish; without it nothing is")
    parser.add_argument("--to", metavar="T", help="publish to this topic, not to the original ones")
    parser.add_argument("--limit", type=count("--limit"), metavar="N", help="publish N at most")
    parser.add_argument(
        "--rate",
        type=number("--rate", MIN_RATE),
        metavar="R",
        help="publish no more than R records a second",
    )
    parser.add_argument(
        "--max-attempts",
        type=count("--max-attempts"),
        default=DEFAULT_MAX_ATTEMPTS,
        metavar="N",
        help="skip what was replayed so often already (%(default)s)",
    )
    parser.add_argument(
        "--missing-metadata",
        choices=("skip", "replay", "unchecked"),
        default="skip",
        help="what to do where metadata is not in the store any more; unchecked asks no store "
        "(%(default)s)",
    )
    add_store_arguments(parser)
    parser.add_argument(
        "--group",
        metavar="G",
        help="the group that keeps what was replayed (topicserve-replay-TOPIC)",
    )
    parser.add_argument(
        "--again", action="store_true", help="replay also what the group has replayed before"
    )
    parser.add_argument("--json", action="store_true", help="the account as one line of JSON")
