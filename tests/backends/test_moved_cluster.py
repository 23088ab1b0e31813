import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.support.kafka.port import Member, Port, eventually, numbered, numbers, send, unique
from tests.support.kafka.tcp_proxy import open_tcp_proxy
from topicserve.backends.broker import Producer
from topicserve.backends.errors import (
    BackendUnavailableError,
    CommitRefusedError,
    TransactionAbortedError,
)
from topicserve.backends.kafka_clients import open_broker
from topicserve.embedded.kafka_server import KafkaServer

pytestmark = pytest.mark.servers


@pytest.fixture(params=["kafka-python", "confluent"])
def client(request: pytest.FixtureRequest) -> str:
    """Name the client of this run."""
    name: str = request.param
    return name


@pytest.fixture
def refusing() -> Iterator[socket.socket]:
    """Give a socket that can take an address over, and refuses connections to it."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        yield taken


def test_a_cluster_that_moved_is_found_by_its_bootstrap_address(
    client: str, tmp_path: Path, refusing: socket.socket
) -> None:
    """Consumer and producer ask there when all brokers that they know are gone (KIP-899)."""
    before, after = KafkaServer(data_dir=tmp_path), KafkaServer(data_dir=tmp_path)
    before.start()
    with ExitStack() as opened:
        opened.callback(after.stop)
        proxy = opened.enter_context(open_tcp_proxy(before.bootstrap_servers))
        port = Port(open_broker(client, {"bootstrap.servers": proxy.address}))
        opened.callback(port.close)
        topic = port.topic(2)
        producer, member = port.producer({"delivery.timeout.ms": 20_000}), port.member(topic)
        transactional = port.producer({"transactional.id": unique("id")})
        transactional.init_transactions(10)
        assert send(producer, numbered(topic, 10)) == [None] * 10
        member.read(10)

        before.stop()
        host, _, number = before.bootstrap_servers.rpartition(":")
        refusing.bind((host, int(number)))
        after.start()
        proxy.target = after.bootstrap_servers
        eventually(lambda: is_written(producer, topic))
        member.read(20)
        member.poll_until(lambda: is_committed(member))
        eventually(lambda: is_transaction_written(transactional, topic))
        member.read(30)

        assert set(numbers(member.records)) == set(range(10))


def is_written(producer: Producer, topic: str) -> bool:
    """Send ten records, and tell whether all were acknowledged."""
    try:
        return send(producer, numbered(topic, 10)) == [None] * 10
    except BackendUnavailableError:
        return False


def is_committed(member: Member) -> bool:
    """Commit what was read; the group's membership may have to be renewed first."""
    try:
        member.consumer.commit(member.next_offsets(), 10)
    except (BackendUnavailableError, CommitRefusedError):
        return False
    return True


def is_transaction_written(producer: Producer, topic: str) -> bool:
    """Write ten records in a transaction; abort it where that fails."""
    try:
        producer.begin_transaction()
        producer.send(numbered(topic, 10), lambda _: None, 5)
        producer.commit_transaction(10)
    except (BackendUnavailableError, TransactionAbortedError):
        with suppress(BackendUnavailableError):
            producer.abort_transaction(10)
        return False
    return True
