"""Records and offsets between the port's tuples and confluent-kafka's objects."""

from collections.abc import Iterable

from confluent_kafka import Message
from confluent_kafka import TopicPartition as ClientPartition

from topicserve.backends.broker import Offsets
from topicserve.wire.kafka_record import KafkaRecord, TopicPartition


def as_record(message: Message) -> KafkaRecord:
    """Return a message as the port's record."""
    return KafkaRecord(
        message.topic(),
        message.partition(),
        message.offset(),
        message.timestamp()[1],
        message.key(),
        message.value(),
        message.headers() or (),
    )


def as_client_partitions(partitions: Iterable[TopicPartition]) -> list[ClientPartition]:
    """Return partitions as the client's."""
    return [ClientPartition(topic, partition) for topic, partition in partitions]


def as_client_offsets(offsets: Offsets) -> list[ClientPartition]:
    """Return offsets as the client's."""
    return [
        ClientPartition(topic, partition, offset) for (topic, partition), offset in offsets.items()
    ]


def as_partitions(partitions: Iterable[ClientPartition]) -> list[TopicPartition]:
    """Return the client's partitions as the port's."""
    return [TopicPartition(one.topic, one.partition) for one in partitions]
