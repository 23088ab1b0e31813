"""Records of what confluent-kafka polls."""

from collections.abc import Callable
from operator import length_hint, methodcaller
from typing import Any

from topicserve.backends.confluent.reading.repeated_headers import BEHIND_ID, RepeatedHeaders
from topicserve.wire.dead_letter import TRUNCATED_HEADER
from topicserve.wire.headers import SERVABLE_AT
from topicserve.wire.kafka_record import KafkaRecord, TopicPartition, UnreadableHeaders

# For a header name that is not UTF-8, confluent-kafka returns a list with holes although it has
# raised an error. Python checks for that only where a call goes through an object such as this: a
# call that it has specialised takes the list, and ends the process where it meets the holes.
read_headers = methodcaller("headers")


def records_of(
    messages: list[Any], take_event: Callable[[Any], bool], repeated: RepeatedHeaders
) -> list[KafkaRecord]:
    """Return the records among messages; headers are those of `repeated` where they are equal.

    `take_event` is called with each message that is none, and returns False.
    """
    records: list[KafkaRecord] = []
    repeated.begin()
    known_for, topic = repeated.known.get, ""
    while True:
        following = iter(messages)
        try:
            for message in following:
                if message.error() is not None and not take_event(message):
                    continue
                headers: Any = read_headers(message) or ()
                if len(headers) > SERVABLE_AT:
                    known = known_for(headers[SERVABLE_AT][1])
                    if known is None or headers[0] != known[0] or headers[BEHIND_ID] != known[1]:
                        repeated.note(headers)
                    else:  # equal, and the copies are let go at once
                        headers[0], headers[BEHIND_ID] = known
                own_topic = message.topic()
                if own_topic != topic:
                    topic = own_topic
                records.append(
                    KafkaRecord(
                        topic,
                        message.partition(),
                        message.offset(),
                        message.timestamp()[1],
                        message.key(),
                        message.value(),
                        headers,
                    )
                )
        except SystemError:
            # What confluent-kafka raises for a header name that is not UTF-8, once: asked
            # again it says that there are no headers. All of them are lost.
            failed = len(messages) - length_hint(following) - 1
            records.append(_unreadable(messages[failed]))
            messages = messages[failed + 1 :]
        else:
            return records


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
