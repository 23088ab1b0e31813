"""Dead letters as they are read from their topic."""

from typing import Any

from tests.support.stages.records import a_kafka_record
from topicserve.cli.dead_letters.entry import DeadLetterEntry, decode_entry
from topicserve.wire.dead_letter import DeadLetter, Reason, encode_dead_letter
from topicserve.wire.kafka_record import KafkaRecord, TopicPartition

DEAD = TopicPartition("dead", 0)
GIVEN_UP_MS = 1_764_300_000_000  # 2025-11-28T03:20:00Z


def a_dead_record(
    offset: int = 0,
    reason: Reason = Reason.INVALID_INPUT,
    *,
    message: str = "x: is too long",
    truncated: str = "",
    timestamp_ms: int = GIVEN_UP_MS,
    partition: TopicPartition = DEAD,
    **changes: Any,
) -> KafkaRecord:
    """Return a record of a dead-letter topic; `changes` are the original record's."""
    original = a_kafka_record(offset, **changes)
    letter = DeadLetter(original, reason, "builtins.ValueError", message, truncated)
    sent = encode_dead_letter(letter, partition.topic)
    return KafkaRecord(*partition, offset, timestamp_ms, sent.key, sent.value, sent.headers)


def an_entry(
    offset: int = 0, reason: Reason = Reason.INVALID_INPUT, **changes: Any
) -> DeadLetterEntry:
    """Return the same, decoded."""
    return decode_entry(a_dead_record(offset, reason, **changes))
