"""Offsets with their texts, between the port's form and confluent-kafka's."""

from typing import Any

import confluent_kafka

from topicserve.backends.broker import OffsetAndMetadata, Offsets, metadata_of
from topicserve.backends.offset_texts import read


def to_client(offsets: Offsets) -> list[Any]:
    """Return what confluent-kafka commits."""
    return [
        confluent_kafka.TopicPartition(
            partition.topic, partition.partition, int(offset), metadata_of(offset)
        )
        for partition, offset in offsets.items()
    ]


def from_client(answer: Any) -> OffsetAndMetadata | None:
    """Return what confluent-kafka found committed; negative offsets stand for nothing."""
    if answer.offset < 0:
        return None
    return OffsetAndMetadata(answer.offset, _text_of(answer))


def _text_of(answer: Any) -> str:
    try:
        return read(answer.metadata or "")
    except UnicodeDecodeError as error:
        # Another program's, without the zero byte that ends ours: what lies behind it in memory is
        # part of it. That is no text of ours, whatever it begins with.
        return error.object.decode(errors="replace")
