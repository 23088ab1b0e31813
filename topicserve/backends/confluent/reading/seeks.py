"""Seeks of a confluent_kafka.Consumer, which takes none before it has begun to fetch a partition.

Between the assignment and the broker's answer where the group stood, librdkafka refuses a seek as
an erroneous state. And a seek that it was about to take when it was asked for something else of the
partition, such as to fetch it again, is refused as outdated. Such a seek is tried again at each
poll, and until it is taken no record of its partition is returned.
"""

from typing import Any

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException

from topicserve.backends.confluent.errors import translated
from topicserve.wire.kafka_record import TopicPartition

_NOT_TAKEN = (KafkaError._STATE, KafkaError._OUTDATED)  # noqa: SLF001 - librdkafka's marks

# How long a poll may wait for records while a seek is to be tried again.
RETRY_SECONDS = 0.01


class Seeks:
    """The seeks of one consumer; for the thread that polls."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._waiting: dict[TopicPartition, int] = {}

    def __bool__(self) -> bool:
        """Return whether a seek waits."""
        return bool(self._waiting)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read a partition on from an offset, now or as soon as that is possible."""
        self._waiting.pop(partition, None)
        with translated():
            try:
                self._client.seek(confluent_kafka.TopicPartition(*partition, offset))
            except KafkaException as error:
                if error.args[0].code() not in _NOT_TAKEN:
                    raise
                self._waiting[partition] = offset

    def try_again(self) -> None:
        """Seek where that was not possible before."""
        for partition, offset in list(self._waiting.items()):
            self.seek(partition, offset)

    def filter(self, messages: list[Any]) -> list[Any]:
        """Return the messages that are not of before a seek that waits."""
        return [
            message
            for message in messages
            if TopicPartition(message.topic(), message.partition()) not in self._waiting
        ]

    def forget(self, partition: TopicPartition) -> None:
        """Drop a partition's seek: it was given up."""
        self._waiting.pop(partition, None)
