"""The broker's process: `python -m topicserve.embedded.broker`.

It prints one line of JSON with its address when it listens. `KafkaServer` starts it; people use
`topicserve stack`.
"""

import argparse
import asyncio
import gc
import json
import logging
import signal
import sys
from pathlib import Path

from topicserve.embedded.broker.broker import EmbeddedBroker
from topicserve.embedded.broker.config import BrokerConfig
from topicserve.embedded.broker.connection import Connection

_log = logging.getLogger(__name__)

_TICK_SECONDS = 0.02


async def serve(broker: EmbeddedBroker, *, end_with_stdin: bool) -> None:
    """Serve until SIGTERM or SIGINT; print on one line of standard output where.

    With `end_with_stdin` also until standard input ends, for anyone who holds its other end may be
    killed and tell nothing. Raises OSError where the port cannot be had.
    """
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    if end_with_stdin:
        loop.add_reader(sys.stdin.fileno(), ended.set)
    connections: set[Connection] = set()
    server = await loop.create_server(
        lambda: Connection(broker, connections), broker.host, broker.config.port
    )
    broker.port = server.sockets[0].getsockname()[1]
    print(json.dumps({"bootstrap_servers": f"{broker.host}:{broker.port}"}), flush=True)
    ticking = loop.create_task(_tick(broker))
    # A broker in which no time passes is of no use: it ends, and says why.
    ticking.add_done_callback(lambda _: ended.set())
    await ended.wait()
    if ticking.done():
        ticking.result()
    ticking.cancel()
    server.close()
    for connection in list(connections):
        connection.close()


async def _tick(broker: EmbeddedBroker) -> None:
    while True:
        await asyncio.sleep(_TICK_SECONDS)
        try:
            broker.tick()
        except OSError as error:
            _log.error("the journal cannot be written to: %s", error)


def main() -> int:
    """Run the broker; return 2 where its port or its data directory cannot be had."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    arguments = vars(_parser().parse_args())
    end_with_stdin = arguments.pop("end_with_stdin")
    config = BrokerConfig(**arguments)
    try:
        broker = EmbeddedBroker(config)
    except OSError as error:
        print(f"cannot keep data in {config.data_dir}: {error.strerror}", file=sys.stderr)
        return 2
    # What is there now stays: collections need not look at it again.
    gc.collect()
    gc.freeze()
    try:
        asyncio.run(serve(broker, end_with_stdin=end_with_stdin))
    except OSError as error:
        print(f"cannot listen on 127.0.0.1:{config.port}: {error.strerror}", file=sys.stderr)
        return 2
    finally:
        broker.close()
    return 0


def _parser() -> argparse.ArgumentParser:
    defaults = BrokerConfig()
    parser = argparse.ArgumentParser(prog="topicserve.embedded.broker", description=__doc__)
    parser.add_argument("--port", type=int, default=defaults.port)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--num-partitions", type=int, default=defaults.num_partitions)
    parser.add_argument("--retention-bytes", type=int, default=defaults.retention_bytes)
    parser.add_argument("--message-max-bytes", type=int, default=defaults.message_max_bytes)
    parser.add_argument("--no-auto-create-topics", dest="auto_create_topics", action="store_false")
    parser.add_argument("--end-with-stdin", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
