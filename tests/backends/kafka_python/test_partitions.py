from types import SimpleNamespace
from typing import Any

import pytest
from kafka import errors

from topicserve.backends.errors import BackendUnavailableError, UnknownTopicError
from topicserve.backends.kafka_python.connection import ClientNetwork
from topicserve.backends.kafka_python.partitions import choose_partitions
from topicserve.wire.kafka_record import OutgoingRecord

KEYED = [OutgoingRecord("topic", b"key", b"value")]


class TimingOutClient:
    """A KafkaProducer that no one told of the topic in time."""

    def partitions_for(self, topic: str) -> set[int]:
        raise errors.KafkaTimeoutError(f"no metadata for {topic}")


class AskedNetwork(ClientNetwork):
    """Brokers that answer to another question, or do not."""

    def __init__(self, *, answers: bool, partitions: set[int] | None = None) -> None:
        super().__init__()
        self._answers = answers
        self._partitions = partitions

    @property
    def cluster(self) -> Any:
        return SimpleNamespace(partitions_for_topic=lambda _: self._partitions)

    def refresh_metadata(self, timeout_seconds: float) -> bool:  # noqa: ARG002
        return self._answers


def test_a_broker_that_is_just_back_knows_its_topics() -> None:
    """The answer that came after all is taken."""
    network = AskedNetwork(answers=True, partitions={0})

    assert choose_partitions(TimingOutClient(), network, KEYED) == [0]


def test_a_broker_that_does_not_answer_is_asked_again_later() -> None:
    """Whether the topic exists is not known."""
    with pytest.raises(BackendUnavailableError):
        choose_partitions(TimingOutClient(), AskedNetwork(answers=False), KEYED)


def test_a_topic_that_the_broker_does_not_have_is_told() -> None:
    """The answer says that there is none."""
    with pytest.raises(UnknownTopicError, match='"topic" does not exist'):
        choose_partitions(TimingOutClient(), AskedNetwork(answers=True), KEYED)
