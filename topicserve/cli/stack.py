"""`topicserve stack`: both embedded servers, until Ctrl-C.

For people. Tests use `topicserve.embedded.stack.Stack`, or the pytest fixtures.
"""

import argparse
import json
import re
import signal
from pathlib import Path

from topicserve.cli.argument_types import port
from topicserve.cli.errors import UsageError
from topicserve.cli.terminal import say
from topicserve.embedded.redis_server import need_server
from topicserve.embedded.server_process import ServerStartError
from topicserve.embedded.stack import Stack
from topicserve.exit_codes import EXIT_FAILED

_END = {signal.SIGTERM, signal.SIGINT}
_LOOK_SECONDS = 0.5
_PORT_TAKEN = re.compile("in use|cannot listen", re.IGNORECASE)

EXAMPLE = "example: topicserve stack --data-dir stack-data"
_HOW_TO_USE = """\
For development and tests, not for production: one broker, nothing replicated.

  Kafka   {bootstrap_servers}
  Redis   {redis_url}

  topicserve worker --bootstrap-servers {bootstrap_servers} --redis-url {redis_url} \\
      --input-topic inputs --output-topic results --group workers --servable NAME=BASE_PATH
  topicserve publish FILE.jsonl --topic inputs --bootstrap-servers {bootstrap_servers} \\
      --redis-url {redis_url}
  topicserve results --topic results --follow --bootstrap-servers {bootstrap_servers}

Ctrl-C ends both."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.epilog = EXAMPLE
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="D",
        help="keep records and metadata in this directory; by default they end with the servers",
    )
    parser.add_argument(
        "--kafka-port",
        type=port("--kafka-port"),
        default=9092,
        metavar="P",
        help="port of the Kafka protocol; 0 takes a free one (%(default)s)",
    )
    parser.add_argument(
        "--redis-port",
        type=port("--redis-port"),
        default=6379,
        metavar="P",
        help="port of the Redis protocol; 0 takes a free one (%(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print the addresses as one JSON line")


def run(arguments: argparse.Namespace) -> int:
    """Run both servers until a signal comes; 1 where a server ended by itself.

    UsageError where a server does not start, such as on a port that is taken.
    """
    need_server()
    stack = Stack(
        arguments.data_dir, kafka_port=arguments.kafka_port, redis_port=arguments.redis_port
    )
    try:
        stack.start()
    except ServerStartError as error:
        remedy = "; choose other ports with --kafka-port and --redis-port"
        taken = _PORT_TAKEN.search(str(error))
        raise UsageError(f"{error}{remedy if taken else ''}") from None
    # Only now: the servers would have inherited what is blocked before they are started.
    signal.pthread_sigmask(signal.SIG_BLOCK, _END)
    try:
        addresses = {
            "bootstrap_servers": stack.bootstrap_servers,
            "redis_url": stack.redis_url,
        }
        print(
            json.dumps(addresses) if arguments.json else _HOW_TO_USE.format(**addresses), flush=True
        )
        while not is_asked_to_end():
            if not stack.running:
                say("topicserve: a server has ended by itself")
                return EXIT_FAILED
    finally:
        stack.stop()
    return 0


def is_asked_to_end() -> bool:
    """Wait a moment for one of the signals, which are blocked; return whether it came.

    After SIGSTOP and a SIGCONT beyond that moment CPython returns a value that names no signal.
    """
    found = signal.sigtimedwait(_END, _LOOK_SECONDS)
    return found is not None and found.si_signo in _END
