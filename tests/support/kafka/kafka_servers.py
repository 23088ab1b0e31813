"""The brokers that the conformance suites run on, behind one small interface."""

import os
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from tests.support.kafka.apache_kafka import ApacheKafka, freeze_process
from topicserve.embedded.kafka_server import KafkaServer

BROKERS = ("embedded", "apache")


class Server(Protocol):
    """A broker in a process of its own."""

    @property
    def bootstrap_servers(self) -> str: ...

    @property
    def pid(self) -> int: ...

    def start(self) -> None: ...

    def kill(self) -> None: ...


def open_server(broker: str, *, auto_create_topics: bool) -> AbstractContextManager[Server]:
    """Start one of the brokers, with 4 partitions a topic."""
    if broker == "apache":
        created = str(auto_create_topics).lower()
        return ApacheKafka({"auto.create.topics.enable": created})
    return KafkaServer(auto_create_topics=auto_create_topics)


@contextmanager
def frozen(server: Server) -> Iterator[None]:
    """Stop a broker in its tracks: connections stay open and no one answers."""
    freeze_process(server.pid)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)
