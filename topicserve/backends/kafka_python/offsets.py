"""Offsets with their texts, between the port's form and kafka-python's."""

from typing import Any

import kafka
from kafka import structs

from topicserve.backends.broker import OffsetAndMetadata, Offsets, metadata_of
from topicserve.backends.offset_texts import read, written


def to_client(offsets: Offsets) -> dict[Any, Any]:
    """Return what kafka-python commits."""
    return {
        kafka.TopicPartition(*partition): structs.OffsetAndMetadata(
            int(offset), written(metadata_of(offset)), -1
        )
        for partition, offset in offsets.items()
    }


def from_client(committed: Any) -> OffsetAndMetadata | None:
    """Return what kafka-python found committed."""
    if committed is None:
        return None
    return OffsetAndMetadata(committed.offset, read(committed.metadata or ""))
