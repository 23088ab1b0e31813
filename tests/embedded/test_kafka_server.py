"""The servers' processes: where they listen, what they say, and that they end with their parent."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import confluent_kafka
import pytest

from tests.support.processes.stack import resident_bytes
from topicserve.embedded.kafka_server import KafkaServer
from topicserve.embedded.server_process import ServerStartError

LIMIT_SECONDS = 30.0


def test_started_again_it_listens_where_it_did(tmp_path: Path) -> None:
    """Clients find it, and what was created, after a stop as after a kill."""
    with KafkaServer(data_dir=tmp_path) as server:
        address = server.bootstrap_servers
        topics = {"bootstrap.servers": address}
        confluent_kafka.Consumer(topics | {"group.id": "g"}).list_topics("kept", LIMIT_SECONDS)
        confluent_kafka.Producer(topics).list_topics("kept", LIMIT_SECONDS)
        for end in (server.stop, server.kill):
            end()
            assert not server.running
            server.start()
            assert server.bootstrap_servers == address
            found = confluent_kafka.Producer(topics).list_topics(timeout=LIMIT_SECONDS)
            assert "kept" in found.topics


def test_a_taken_port_is_one_line() -> None:
    """Anyone who starts it is told what is in the way."""
    with KafkaServer() as first:
        port = int(first.bootstrap_servers.rpartition(":")[2])
        with pytest.raises(ServerStartError, match=f"127.0.0.1:{port}.*in use"):
            KafkaServer(port=port).start()


def test_memory_is_bounded_by_retention() -> None:
    """Ten times as many records as may be kept are taken, and the newest can be read."""
    value = b"v" * 100_000
    retention_bytes = 32 << 20
    with KafkaServer(retention_bytes=retention_bytes) as server:
        before = resident_bytes(server.pid)
        producer = confluent_kafka.Producer(
            {"bootstrap.servers": server.bootstrap_servers, "linger.ms": 1}
        )
        for number in range(10 * retention_bytes // len(value)):
            producer.produce("topic", value, partition=number % 4)
            if number % 100 == 0:
                assert producer.flush(LIMIT_SECONDS) == 0
        assert producer.flush(LIMIT_SECONDS) == 0

        assert resident_bytes(server.pid) - before < 2 * retention_bytes
        kept = [_kept(server, index) for index in range(4)]

    assert all(0 < low < high for low, high in kept)
    assert sum(high - low for low, high in kept) * len(value) > retention_bytes // 2


def _kept(server: KafkaServer, index: int) -> tuple[int, int]:
    """Return the first and the next offset of a partition."""
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": server.bootstrap_servers, "group.id": "g"}
    )
    place = confluent_kafka.TopicPartition("topic", index)
    low, high = consumer.get_watermark_offsets(place, LIMIT_SECONDS)
    consumer.close()
    return low, high


_PARENT = """
import os, sys, threading
from topicserve.embedded.{module} import {kind}
server = {kind}()
thread = threading.Thread(target=server.start)
thread.start()
thread.join()
assert server.running, "it must not end with the thread that started it"
print(server.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("module", "kind"), [("kafka_server", "KafkaServer"), ("redis_server", "RedisServer")]
)
def test_a_killed_parent_takes_its_server_along(module: str, kind: str) -> None:
    """Nothing is left behind by a test run that is killed."""
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT.format(module=module, kind=kind)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    session = int(parent.stdout.readline())
    members = _session_members(session)
    assert members
    descriptors = [os.pidfd_open(pid) for pid in members]

    parent.send_signal(signal.SIGKILL)
    parent.communicate()

    for descriptor in descriptors:
        _wait_for_end(descriptor)


def _session_members(session: int) -> list[int]:
    """Return the processes of a session: the server, and what it started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session:
            found.append(int(path.parent.name))
    return found


def _wait_for_end(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    assert poll.poll(LIMIT_SECONDS * 1_000), "still running"
    os.close(descriptor)
