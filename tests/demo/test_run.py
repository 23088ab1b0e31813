"""The whole demo, on the embedded servers and on Apache Kafka."""

import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis
from matplotlib.image import imread

from tests.support.apache_kafka import ApacheKafka
from topicserve.backends.kafka_clients import open_broker
from topicserve.cli.main import main
from topicserve.embedded.redis_server import RedisServer

# Twice as long as it takes here with nothing else on the machine, and then some.
DEMO_LIMIT_SECONDS = 300


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    """Return the address of a Redis of the demo user's own."""
    with RedisServer() as server:
        yield server.redis_url


def assert_shown(output: str, folder: Path) -> None:
    """Check the table, the picture and the logs of a demo that went well."""
    for expected in ("version 1", "version 2", "worker-1", "worker-2", "latency p99", "SIGKILL"):
        assert expected in output
    assert "WRONG" not in output
    assert imread(folder / "digits.png").std() > 0
    assert "partitions_assigned" in (folder / "worker-2.log").read_text()


@pytest.mark.slow
@pytest.mark.timeout(DEMO_LIMIT_SECONDS)
def test_nothing_is_lost_on_the_embedded_servers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A version is swapped and a worker killed while records flow, and all is as it should be."""
    exit_code = main(["demo", "--output", str(tmp_path), "--records-per-second", "300"])

    output = capsys.readouterr().out
    assert exit_code == 0, output
    assert_shown(output, tmp_path)


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.timeout(DEMO_LIMIT_SECONDS)
def test_nothing_is_lost_on_apache_kafka_and_nothing_is_left_behind(
    redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a user's own servers topics and metadata are gone in the end, and others untouched."""
    others = f"others-{uuid.uuid4().hex[:8]}"
    store = redis.Redis.from_url(redis_url)
    store.set("others", "kept")
    with ApacheKafka() as kafka:
        broker = open_broker("confluent", {"bootstrap.servers": kafka.bootstrap_servers})
        with closing(broker.admin()) as admin:
            admin.create_topic(others, 1, timeout_seconds=30)

        exit_code = main(
            [
                *("demo", "--output", str(tmp_path), "--records-per-second", "300"),
                *("--bootstrap-servers", kafka.bootstrap_servers, "--redis-url", redis_url),
                *("--client", "confluent"),
            ]
        )

        output = capsys.readouterr().out
        assert exit_code == 0, output
        assert_shown(output, tmp_path)
        topics = kafka.tool("kafka-topics", "--list").split()
        assert [name for name in topics if not name.startswith("__")] == [others]
    assert store.keys() == [b"others"]
    store.close()
