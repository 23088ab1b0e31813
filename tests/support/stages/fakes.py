"""What the producer's side is tested on, in memory: a store, a slow broker, a topic to read."""

import threading
from collections.abc import Callable, Mapping, Sequence

from tests.support.kafka.kafka_doubles import MemoryConsumer, MemoryLog, MemoryProducer
from topicserve.backends.broker import ConsumerStats, OnDelivery, Places
from topicserve.backends.errors import BackendError
from topicserve.wire.kafka_record import KafkaRecord, OutgoingRecord, TopicPartition


class MemoryMetadataStore:
    """Keeps metadata in a dict; `fail` decides before each call whether it answers."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.puts: list[list[str]] = []
        self.fail: Callable[[], BackendError | None] = lambda: None
        self.closed = False

    def put_many(self, metadata: Mapping[str, bytes]) -> None:
        self._answer()
        self.puts.append(list(metadata))
        self.content.update(metadata)

    def get_many(self, record_ids: Sequence[str]) -> list[bytes | None]:
        self._answer()
        return [self.content.get(record_id) for record_id in record_ids]

    def request_many(self, record_ids: Sequence[str]) -> "MemoryPending":
        return MemoryPending(self.get_many(record_ids))

    def delete_many(self, record_ids: Sequence[str]) -> None:
        self._answer()
        for record_id in record_ids:
            self.content.pop(record_id, None)

    def ping(self) -> None:
        self._answer()

    def close(self) -> None:
        self.closed = True

    def _answer(self) -> None:
        error = self.fail()
        if error is not None:
            raise error


class MemoryPending:
    """An answer that is there already."""

    def __init__(self, found: list[bytes | None]) -> None:
        self._found = found

    def result(self) -> list[bytes | None]:
        return self._found

    def close(self) -> None:
        self._found = []


class HeldProducer(MemoryProducer):
    """Acknowledges nothing until `release`; `sent` is set with the first record."""

    def __init__(self, log: MemoryLog) -> None:
        super().__init__(log)
        self.sent = threading.Event()
        self._held: list[tuple[Sequence[OutgoingRecord], OnDelivery, Places | None]] = []

    def send(
        self,
        records: Sequence[OutgoingRecord],
        on_delivery: OnDelivery,
        timeout_seconds: float | None = None,  # noqa: ARG002
        places: Places | None = None,
    ) -> None:
        self._held.append((records, on_delivery, places))
        self.sent.set()

    def release(self) -> None:
        """Acknowledge everything sent so far."""
        held, self._held = self._held, []
        for records, on_delivery, places in held:
            super().send(records, on_delivery, places=places)


class ReadConsumer(MemoryConsumer):
    """Knows its lag, and gives itself partitions at the first poll."""

    def __init__(self, log: MemoryLog, *partitions: TopicPartition) -> None:
        super().__init__(log)
        self.lag_records: dict[TopicPartition, int] = {}
        self._partitions = partitions
        self.polls = 0

    def poll(self, timeout_seconds: float, max_records: int) -> list[KafkaRecord]:
        self.polls += 1
        if self.polls == 1:
            self.assign(*self._partitions)
        return super().poll(timeout_seconds, max_records)

    def stats(self) -> ConsumerStats:
        return ConsumerStats(
            frozenset(self.positions), frozenset(), self.lag_records, self.positions
        )
