"""What a consumer knows is told at once, whatever its client is busy with."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from topicserve.backends.confluent.reading.consumer import ConfluentConsumer
from topicserve.backends.errors import BackendUnavailableError
from topicserve.wire.kafka_record import TopicPartition

PARTITION = TopicPartition("in", 0)
LIMIT_SECONDS = 60.0


class OneAtATime:
    """A confluent_kafka.Consumer that does one call at a time, and whose commit is not answered."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self._lock = threading.Lock()
        self._on_assign: Any = None

    def subscribe(self, _: list[str], on_assign: Any, **__: Any) -> None:
        self._on_assign = on_assign

    def poll(self, _: float) -> None:
        if self._on_assign is not None:
            on_assign, self._on_assign = self._on_assign, None
            on_assign(self, [SimpleNamespace(topic="in", partition=0)])

    def commit(self, **_: Any) -> list[Any]:
        with self._lock:
            assert self.may_answer.wait(LIMIT_SECONDS)
        return []

    def position(self, partitions: list[Any]) -> list[Any]:
        with self._lock:
            return [
                SimpleNamespace(topic=p.topic, partition=p.partition, offset=7) for p in partitions
            ]

    def get_watermark_offsets(self, *_: Any, **__: Any) -> tuple[int, int]:
        return 0, 9


def test_a_commit_that_is_not_answered_holds_up_no_stats() -> None:
    """A stop asks for them; they are those of before."""
    client = OneAtATime()
    consumer = ConfluentConsumer(lambda _: client)
    consumer.subscribe(["in"], SimpleNamespace(on_assigned=lambda _: None))
    consumer.poll(0.0, 1)
    before = consumer.stats()
    with pytest.raises(BackendUnavailableError):
        consumer.commit({PARTITION: 7}, 0.01)

    during = consumer.stats()
    client.may_answer.set()
    consumer.commit({PARTITION: 7}, LIMIT_SECONDS)

    assert before.lag_records == {PARTITION: 2}
    assert during == before == consumer.stats()
