"""What a consumer knows of its partitions, and how the client names them."""

from collections.abc import Iterable, Sequence
from typing import Any

import confluent_kafka

from topicserve.backends.confluent.errors import translate, translated
from topicserve.wire.kafka_record import KafkaRecord, TopicPartition


class AssignedPartitions:
    """The partitions that a consumer has; for the thread that polls. Rebalances run on it, too."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.assigned: set[TopicPartition] = set()
        self.paused: set[TopicPartition] = set()
        self.ends: dict[TopicPartition, int] = {}
        """Where the end of a partition was met: past aborted records and markers.

        `position` does not count those, since it follows records.
        """
        self.unread: set[TopicPartition] = set()
        """What was assigned of deleted topics, until a record comes.

        Their offsets must not be committed for a topic that is created again.
        """
        self.sought: dict[TopicPartition, int] = {}
        """Where paused partitions go on, if that was sought: `position` only follows records."""
        self.starts: dict[TopicPartition, int] = {}
        """Where the group stood when partitions were assigned, if that is known."""

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget partitions that are gone."""
        for partition in partitions:
            for known in (self.assigned, self.paused, self.unread):
                known.discard(partition)
            for offsets in (self.ends, self.sought, self.starts):
                offsets.pop(partition, None)

    def note_deleted(self, topic: str) -> None:
        """Note that a topic is gone: what was known of its partitions is about no other log."""
        gone = {partition for partition in self.assigned if partition.topic == topic}
        self.unread |= gone
        for partition in gone:
            self.ends.pop(partition, None)

    def note_read(self, records: Iterable[KafkaRecord]) -> None:
        """Keep an end only until the next record: of a topic created again it says nothing."""
        for partition in {TopicPartition(one.topic, one.partition) for one in records}:
            self.ends.pop(partition, None)
            self.unread.discard(partition)

    def lag_records(self) -> dict[TopicPartition, int]:
        """Return how many records are behind each position, where both are known."""
        lag_records = {}
        for partition, position in self.positions(self.assigned).items():
            known = [one for one in (self.ends.get(partition), position) if one is not None]
            log_end = self.log_end(partition)
            if known and log_end is not None:
                lag_records[partition] = max(log_end - max(known), 0)
        return lag_records

    def positions(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int | None]:
        """Return what the client reads next: the old offset after a seek, until a record comes."""
        with translated():
            found = self._client.position(theirs_of(partitions))
        # Negative offsets stand for what is not known.
        return {ours_of(one): int(one.offset) if one.offset >= 0 else None for one in found}

    def log_end(self, partition: TopicPartition) -> int | None:
        """Return the last known high watermark, without asking the broker."""
        with translated():
            watermarks = self._client.get_watermark_offsets(theirs_of([partition])[0], cached=True)
        return None if watermarks is None or watermarks[1] < 0 else int(watermarks[1])


def theirs_of(partitions: Iterable[TopicPartition]) -> list[Any]:
    """Return the client's partitions."""
    return [confluent_kafka.TopicPartition(*partition) for partition in partitions]


def ours_of(theirs: Any) -> TopicPartition:
    """Return a client's partition as the port's."""
    return TopicPartition(theirs.topic, theirs.partition)


def raise_for_partitions(answers: Sequence[Any]) -> None:
    """Raise the first error that the client's answer has for a partition."""
    for theirs in answers:
        if theirs.error is not None:
            raise translate(theirs.error)
