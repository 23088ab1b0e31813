from pathlib import Path

import pytest

from tests.support.processes.worker_config import MINIMAL, load
from topicserve.backends.kafka_settings import MAX_DECOMPRESSED_BYTES
from topicserve.worker.runtime.kafka_settings import (
    MAX_RECORD_BYTES,
    consumer_settings,
    producer_settings,
    shadow_producer_settings,
)


def test_what_a_worker_sets(tmp_path: Path) -> None:
    """Read from the first record, committed ones alone; results of any size, sent at once."""
    config = load(tmp_path, MINIMAL + '[kafka]\ngroup_instance_id = "w-0"')

    assert consumer_settings(config) == {
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        MAX_DECOMPRESSED_BYTES: 128 * 1024 * 1024,
        "group.instance.id": "w-0",
    }
    assert producer_settings(config, {"batch.size": 7}) == {
        "batch.size": 7,
        "linger.ms": 0,
        "max.request.size": MAX_RECORD_BYTES,
        "delivery.timeout.ms": 120_000,
    }
    assert shadow_producer_settings(config) == {"linger.ms": 100}


def test_with_exactly_once_a_producer_has_transactions(tmp_path: Path) -> None:
    """Their id is that of the group's member; librdkafka waits a little for more results."""
    config = load(
        tmp_path,
        MINIMAL + '[delivery]\nguarantee = "exactly_once"\n'
        '[kafka]\nclient = "confluent"\ngroup_id = "g"\ngroup_instance_id = "w-0"',
    )

    settings = producer_settings(config, {})

    assert settings["transactional.id"] == "g-w-0"
    assert settings["transaction.timeout.ms"] == 10_000
    assert settings["linger.ms"] == 1
    assert "transactional.id" not in shadow_producer_settings(config)


@pytest.mark.parametrize(
    ("name", "alias"),
    [
        ("linger.ms", "queue.buffering.max.ms"),
        ("max.request.size", "message.max.bytes"),
        ("delivery.timeout.ms", "message.timeout.ms"),
        ("batch.size", "batch.size"),
    ],
)
def test_a_users_setting_wins_over_a_workers(tmp_path: Path, name: str, alias: str) -> None:
    """Set for all connections or for the producer alone, under either client's name."""
    for_all = load(tmp_path, MINIMAL + f"[kafka.settings]\n{alias} = 9")
    for_one = load(tmp_path, MINIMAL + f"[kafka.producer_settings]\n{alias} = 9")

    # What is set for all connections is added by the broker.
    assert name not in producer_settings(for_all, {"batch.size": 7})
    assert producer_settings(for_one, {"batch.size": 7})[alias] == 9


def test_a_users_setting_wins_over_a_consumers(tmp_path: Path) -> None:
    """So a worker may start at the end of its topics."""
    lines = 'auto.offset.reset = "latest"\nisolation.level = "read_uncommitted"'
    for_all = load(tmp_path, MINIMAL + f"[kafka.settings]\n{lines}")
    for_one = load(tmp_path, MINIMAL + f"[kafka.consumer_settings]\n{lines}")

    assert consumer_settings(for_all).keys() == {MAX_DECOMPRESSED_BYTES}
    assert consumer_settings(for_one)["auto.offset.reset"] == "latest"
    assert consumer_settings(for_one)["isolation.level"] == "read_uncommitted"
