from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.kafka.kafka_doubles import MemoryConsumer, MemoryLog, MemoryProducer
from topicserve.producer.client import connections
from topicserve.producer.client.core import ClientCore


class NotingBroker:
    """Notes the settings of each connection."""

    def __init__(self) -> None:
        self.producers: list[Mapping[str, object]] = []
        self.consumers: list[Mapping[str, object]] = []

    def producer(self, settings: Mapping[str, object]) -> MemoryProducer:
        self.producers.append(settings)
        return MemoryProducer(MemoryLog())

    def consumer(self, _group: str, settings: Mapping[str, object]) -> MemoryConsumer:
        self.consumers.append(settings)
        return MemoryConsumer(MemoryLog())

    def admin(self) -> Any:
        raise AssertionError("nothing is asked yet")


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> NotingBroker:
    """Open no client library's connections."""
    broker = NotingBroker()
    monkeypatch.setattr(connections, "open_broker", lambda *_: broker)
    return broker


def open_core(kafka_settings: Mapping[str, object] | None) -> ClientCore:
    """Open a client's core with these settings of its user."""
    return connections.open_core(
        "127.0.0.1:1",
        None,
        "in",
        "out",
        dead_letter_topic=None,
        servable=None,
        source="/test",
        client="kafka-python",
        kafka_settings=kafka_settings,
        key_prefix="",
        ttl_seconds=1.0,
    )


def test_a_users_setting_wins_over_a_clients(broker: NotingBroker) -> None:
    """The broker adds it to each connection, so the client's own must not be there."""
    core = open_core({"queue.buffering.max.ms": 3, "isolation.level": "read_uncommitted"})
    core.listener._open_consumer()

    assert "linger.ms" not in broker.producers[0]
    assert broker.consumers == [{"auto.offset.reset": "earliest"}]


def test_a_client_sends_at_once_and_reads_what_is_committed(broker: NotingBroker) -> None:
    """Unless its user says otherwise."""
    core = open_core(None)
    core.listener._open_consumer()

    assert broker.producers[0]["linger.ms"] == 0
    assert broker.consumers == [
        {"auto.offset.reset": "earliest", "isolation.level": "read_committed"}
    ]
