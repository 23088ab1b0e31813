"""Where a reader of a topic is in each of its partitions."""

import threading
from collections.abc import Sequence

from topicserve.backends.broker import Offsets
from topicserve.wire.kafka_record import KafkaRecord, TopicPartition


class Positions:
    """Where each partition's next record is; partitions that go away are forgotten."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # a client may call its listener from a thread of its own
        self._next_offsets: dict[TopicPartition, int] = {}
        self.is_known = False
        """Whether the topic was ever there; one assignment, no lock."""

    def passed(self, record: KafkaRecord) -> None:
        """Note that a record is done with."""
        with self._lock:
            partition = TopicPartition(record.topic, record.partition)
            self._next_offsets[partition] = record.offset + 1

    def next_offsets(self) -> Offsets:
        """Return what to commit."""
        with self._lock:
            return dict(self._next_offsets)

    def on_assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """Start at the group's committed offset, which the client knows."""
        if partitions:
            self.is_known = True

    def on_revoked(self, partitions: Sequence[TopicPartition]) -> Offsets:
        """Commit nothing: what the caller has not confirmed is read again by the next owner."""
        self.on_lost(partitions)
        return {}

    def on_lost(self, partitions: Sequence[TopicPartition]) -> None:
        """Forget where they are."""
        with self._lock:
            for partition in partitions:
                self._next_offsets.pop(partition, None)
