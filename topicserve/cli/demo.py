"""`topicserve demo`: the whole service on real input, in under two minutes.

These are the flags and the exit code; `topicserve.demo` does what is shown.
"""

import argparse
from contextlib import closing
from pathlib import Path

from topicserve.backends.redis_store import RedisMetadataStore
from topicserve.cli.connection import (
    add_kafka_arguments,
    kafka_settings,
    need_store,
    partitions_of,
)
from topicserve.cli.errors import UsageError
from topicserve.cli.terminal import say
from topicserve.demo.deployment import Servers
from topicserve.demo.errors import DemoError
from topicserve.demo.run import RECORDS_PER_SECOND, DemoOptions, run_demo
from topicserve.demo.screen import Screen
from topicserve.exit_codes import EXIT_FAILED

EXAMPLE = "example: topicserve demo --output demo-output"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags; without servers the demo starts its own."""
    parser.epilog = EXAMPLE
    add_kafka_arguments(parser, default=None)
    parser.add_argument("--redis-url", metavar="URL", help="your own Redis, beside your own Kafka")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("demo-output"),
        metavar="FOLDER",
        help="where the picture and the workers' logs go (%(default)s)",
    )
    parser.add_argument(
        "--records-per-second",
        type=float,
        default=RECORDS_PER_SECOND,
        metavar="N",
        help="how fast to publish (%(default)g)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Show it; the exit code is 1 when anything was lost or is wrong."""
    if arguments.records_per_second <= 0:
        raise UsageError("--records-per-second: must be above 0")
    try:
        arguments.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"--output: {arguments.output}: {error.strerror}; name a folder that can be written to"
        ) from error
    options = DemoOptions(
        output=arguments.output,
        servers=own_servers(arguments),
        client=arguments.client,
        records_per_second=arguments.records_per_second,
    )
    try:
        return run_demo(options, Screen())
    except DemoError as error:
        say(f"topicserve demo: {error}")
        return EXIT_FAILED


def own_servers(arguments: argparse.Namespace) -> Servers | None:
    """Return the user's own servers, which answer; both must be given, or none.

    None stands for servers that the demo starts itself. Raises UsageError where one is missing or
    does not answer.
    """
    given = (arguments.bootstrap_servers, arguments.redis_url)
    if given == (None, None):
        return None
    if None in given:
        raise UsageError(
            "--bootstrap-servers, --redis-url: give both to run on your own servers, or none"
        )
    partitions_of(arguments, "topicserve-demo")  # whether there is one or not: a broker answers
    with closing(RedisMetadataStore(arguments.redis_url)) as store:
        need_store(arguments, store)
    return Servers(*given, arguments.client, kafka_settings(arguments))
