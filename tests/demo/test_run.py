"""The whole demo, on the embedded servers and on Apache Kafka."""

import io
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import redis
from matplotlib.image import imread
from rich.console import Console

from tests.support.kafka.apache_kafka import ApacheKafka
from tests.support.traffic.demo_results import a_ledger
from topicserve.backends.kafka_clients import open_broker
from topicserve.cli.main import main
from topicserve.demo.digits import Digits
from topicserve.demo.run import show
from topicserve.demo.screen import Screen
from topicserve.demo.summary import summarize
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


def test_a_demo_that_lost_something_fails(tmp_path: Path) -> None:
    """What is wrong is told, and the exit code says it to anyone who runs it."""
    digits = Digits(np.zeros((1, 64), np.float32), np.array([7]))
    out = io.StringIO()
    stage = SimpleNamespace(
        ledger=a_ledger(1), memory=SimpleNamespace(peak_bytes=0), given_up=["invalid_input: why"]
    )
    summary = summarize(stage.ledger, digits, len(stage.given_up), killed_at=0)

    exit_code = show(stage, summary, digits, tmp_path, Screen(Console(file=out, width=200)))  # type: ignore[arg-type]

    assert exit_code == 1
    assert "WRONG 1 record(s) have no result" in out.getvalue()
    assert "WRONG invalid_input: why" in out.getvalue()
