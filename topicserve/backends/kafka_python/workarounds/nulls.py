"""Sends what `KafkaProducer.send` (3.0.12) refuses although Kafka allows it.

That is a record with neither key nor value, and headers without a value. Both come up in dead
letters, which keep the original record untouched.
"""

from typing import Any

import kafka

from topicserve.wire.kafka_record import Headers, OutgoingRecord


def has_nulls(record: OutgoingRecord) -> bool:
    """Return whether `KafkaProducer.send` refuses this record for its nulls."""
    return (record.key is None and record.value is None) or any(
        value is None for _, value in record.headers
    )


def send_with_nulls(
    client: Any,
    topic: str,
    value: bytes | None,
    key: bytes | None,
    headers: Headers,
    partition: int | None,
    timestamp_ms: int | None,
) -> Any:
    """Return the record's future. Does as `KafkaProducer.send`, without the checks."""
    # ruff: noqa: SLF001 - there is no other place
    chosen = client._partition(topic, partition, key, value, key, value)
    partition_of_record = kafka.TopicPartition(topic, chosen)
    client._ensure_valid_record_size(client._estimate_size_in_bytes(key, value, headers))
    manager = client._transaction_manager
    if manager is not None and manager.is_transactional():
        manager.maybe_add_partition_to_transaction(partition_of_record)
    future, *_ = client._accumulator.append(
        partition_of_record, timestamp_ms, key, value, _NullableHeaders(headers)
    )
    client._sender.wakeup()
    return future


class _NullableHeaders(list[tuple[str, bytes | None]]):
    """Headers whose sizes are not added up, which would fail for those without a value.

    The library adds them up only for headers that are true, for a figure that no one reads here.
    """

    def __bool__(self) -> bool:
        return False
