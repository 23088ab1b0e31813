"""Chooses the partitions of a whole list of records at once."""

from collections.abc import Sequence
from typing import Any

from kafka import errors

from topicserve.backends.errors import BackendUnavailableError, UnknownTopicError
from topicserve.backends.kafka_python.connection import ClientNetwork
from topicserve.backends.kafka_python.errors import translated
from topicserve.backends.kafka_python.murmur2 import partitions_of
from topicserve.wire.kafka_record import OutgoingRecord

_METADATA_SECONDS = 1.0


def choose_partitions(
    client: Any, network: ClientNetwork, records: Sequence[OutgoingRecord]
) -> list[int | None]:
    """Return each record's partition; None leaves it to the client's sticky partitioner.

    Raises UnknownTopicError, AuthenticationError and BackendUnavailableError for a topic.
    """
    partitions = [record.partition for record in records]
    by_topic: dict[str, list[int]] = {}
    for index, record in enumerate(records):
        by_topic.setdefault(record.topic, []).append(index)
    for topic, indices in by_topic.items():
        count = _partition_count(client, network, topic)
        keyed = [i for i in indices if partitions[i] is None and records[i].key is not None]
        keys = [records[index].key or b"" for index in keyed]
        for index, partition in zip(keyed, partitions_of(keys, count), strict=True):
            partitions[index] = partition
    return partitions


def _partition_count(client: Any, network: ClientNetwork, topic: str) -> int:
    try:
        with translated(errors.KafkaTimeoutError):
            return len(client.partitions_for(topic))
    except errors.KafkaTimeoutError as error:
        network.raise_refused()
        # A broker that does not know a topic is told from one that does not answer, and from one
        # that is just back.
        if not network.refresh_metadata(_METADATA_SECONDS):
            raise BackendUnavailableError(f"kafka-python: {topic}: {error}") from error
        found = network.cluster.partitions_for_topic(topic)
        if found is not None:
            return len(found)
        raise UnknownTopicError(
            f'the topic "{topic}" does not exist: create it, or let the brokers do so '
            "(auto.create.topics.enable)"
        ) from error
