"""Records of what confluent-kafka polls."""

from collections.abc import Callable
from operator import length_hint
from typing import Any

from topicserve.wire.dead_letter import TRUNCATED_HEADER
from topicserve.wire.kafka_record import KafkaRecord, TopicPartition, UnreadableHeaders


def records_of(messages: list[Any], take_event: Callable[[Any], bool]) -> list[KafkaRecord]:
    """Return the records among messages.

    `take_event` is called with each message that is none, and returns False.
    """
    records: list[KafkaRecord] = []
    while True:
        following = iter(messages)
        try:
            return records + [
                KafkaRecord(
                    message.topic(),
                    message.partition(),
                    message.offset(),
                    message.timestamp()[1],
                    message.key(),
                    message.value(),
                    message.headers() or (),
                )
                for message in following
                if message.error() is None or take_event(message)
            ]
        except SystemError:
            # What confluent-kafka raises for a header name that is not UTF-8, once: asked
            # again it says that there are no headers. All of them are lost.
            failed = len(messages) - length_hint(following) - 1
        records += records_of(messages[:failed], take_event)
        records.append(_unreadable(messages[failed]))
        messages = messages[failed + 1 :]


def partition_of(message: Any) -> TopicPartition:
    """Return the partition that a message is of."""
    return TopicPartition(message.topic(), message.partition())


def with_place(problem: Exception, message: Any) -> str:
    """Return a problem with the partition that it is about, if it is one's."""
    topic, partition = message.topic(), message.partition()
    return str(problem) if topic is None else f"{topic}-{partition}: {problem}"


def _unreadable(message: Any) -> KafkaRecord:
    return KafkaRecord(
        message.topic(),
        message.partition(),
        message.offset(),
        message.timestamp()[1],
        message.key(),
        message.value(),
        UnreadableHeaders(
            "a header name is not UTF-8", [(TRUNCATED_HEADER, b"headers=unreadable")]
        ),
    )
