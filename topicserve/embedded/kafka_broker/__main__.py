"""The broker's own process: `python -m topicserve.embedded.kafka_broker`."""

import argparse
import asyncio
import gc
import json
import signal
import socket
import sys
from pathlib import Path

from topicserve.embedded.kafka_broker.connection import Connection
from topicserve.embedded.kafka_broker.context import Broker, BrokerSettings
from topicserve.embedded.parent import end_with_parent

_TICK_SECONDS = 0.05


async def serve(broker: Broker, port: int) -> None:
    """Serve until SIGTERM, SIGINT, or the end of standard input; says on a line where."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    connections: set[Connection] = set()
    server = await loop.create_server(lambda: Connection(broker, connections), "127.0.0.1", port)
    listening: socket.socket = server.sockets[0]
    broker.host, broker.port = listening.getsockname()[:2]
    print(json.dumps({"bootstrap_servers": f"{broker.host}:{broker.port}"}), flush=True)
    ticking = loop.create_task(_tick(broker))
    await stop.wait()
    ticking.cancel()
    server.close()
    for connection in list(connections):
        connection.close()


async def _tick(broker: Broker) -> None:
    while True:
        await asyncio.sleep(_TICK_SECONDS)
        broker.tick()


def main() -> int:
    """Run the broker."""
    parser = argparse.ArgumentParser(prog="topicserve.embedded.kafka_broker", description=__doc__)
    defaults = BrokerSettings()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--partitions", type=int, default=defaults.num_partitions)
    parser.add_argument("--retention-bytes", type=int, default=defaults.retention_bytes)
    parser.add_argument("--max-message-bytes", type=int, default=defaults.max_message_bytes)
    parser.add_argument("--no-auto-create-topics", action="store_true")
    arguments = parser.parse_args()
    end_with_parent()
    settings = BrokerSettings(
        num_partitions=arguments.partitions,
        auto_create_topics=not arguments.no_auto_create_topics,
        retention_bytes=arguments.retention_bytes,
        max_message_bytes=arguments.max_message_bytes,
        data_dir=arguments.data_dir,
    )
    broker = Broker(settings)
    gc.collect()
    gc.freeze()
    try:
        asyncio.run(serve(broker, arguments.port))
    except OSError as error:
        print(f"cannot listen on 127.0.0.1:{arguments.port}: {error.strerror}", file=sys.stderr)
        return 2
    finally:
        broker.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
