from collections.abc import Sequence
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from topicserve.backends.confluent.reading.seeks import Seeks
from topicserve.backends.errors import BackendError
from topicserve.wire.kafka_record import TopicPartition

PARTITION = TopicPartition("in", 0)


class Client:
    """Refuses the first seeks with these codes, and takes all others."""

    def __init__(self, codes: Sequence[int]) -> None:
        self.codes = list(codes)
        self.taken: list[tuple[str, int, int]] = []

    def seek(self, place: Any) -> None:
        if self.codes:
            raise KafkaException(KafkaError(self.codes.pop(0)))
        self.taken.append((place.topic, place.partition, place.offset))


class Message:
    """A message of a partition."""

    def __init__(self, partition: int) -> None:
        self._partition = partition

    def topic(self) -> str:
        return "in"

    def partition(self) -> int:
        return self._partition


@pytest.mark.parametrize("code", [KafkaError._STATE, KafkaError._OUTDATED])
def test_a_seek_that_is_not_taken_now_is_tried_again(code: int) -> None:
    """Until then no record of its partition is returned: it would be of before."""
    client = Client([code, code])
    seeks = Seeks(client)
    messages = [Message(0), Message(1)]

    seeks.seek(PARTITION, 7)
    seeks.try_again()
    waiting = seeks.filter(messages)
    seeks.try_again()

    assert (waiting, client.taken) == (messages[1:], [("in", 0, 7)])
    assert not seeks
    assert seeks.filter(messages) == messages


def test_what_else_is_wrong_with_a_seek_is_told() -> None:
    """It would not be taken the next time either."""
    seeks = Seeks(Client([KafkaError._INVALID_ARG]))

    with pytest.raises(BackendError):
        seeks.seek(PARTITION, 7)

    assert not seeks
