from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from tests.support.stages.records import ManualClock
from topicserve.backends.confluent.reading.topics import LAG_SECONDS, FoundTopics
from topicserve.backends.errors import AuthenticationError, UnknownTopicError

UNKNOWN = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
FORBIDDEN = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
AWAY = KafkaException(KafkaError(KafkaError._TRANSPORT))


class Brokers:
    """Answers as the client's `list_topics`; raises what is an exception."""

    def __init__(self) -> None:
        self.answer: Any = UNKNOWN
        self.asked = 0

    def list_topics(self, topic: str, timeout: float) -> Any:  # noqa: ARG002 - the client's
        self.asked += 1
        if isinstance(self.answer, KafkaException):
            raise self.answer
        return SimpleNamespace(topics={topic: SimpleNamespace(error=self.answer)})


@pytest.fixture
def brokers() -> Brokers:
    """Give brokers that do not know the topic."""
    return Brokers()


@pytest.fixture
def clock() -> ManualClock:
    """Give a clock that stands still."""
    return ManualClock()


@pytest.fixture
def topics(brokers: Brokers, clock: ManualClock) -> FoundTopics:
    """Give topics of which one was not there."""
    found = FoundTopics(brokers, clock)
    found.note_missing("in")
    return found


def test_a_topic_that_never_comes_is_an_error(topics: FoundTopics, clock: ManualClock) -> None:
    """Once brokers have had time to hear of it."""
    clock.advance(LAG_SECONDS - 0.1)
    topics.check()
    clock.advance(0.2)

    with pytest.raises(UnknownTopicError, match='"in" does not exist'):
        topics.check()


def test_a_topic_that_is_seen_meanwhile_is_no_error(
    topics: FoundTopics, clock: ManualClock, brokers: Brokers
) -> None:
    """An assignment tells so, and no broker is asked."""
    topics.note("in")
    clock.advance(LAG_SECONDS)

    topics.check()

    assert "in" in topics
    assert brokers.asked == 0


def test_a_topic_is_looked_for_before_it_is_missed(
    topics: FoundTopics, clock: ManualClock, brokers: Brokers
) -> None:
    """A member may have no partition of it; it is there all the same."""
    brokers.answer = None
    clock.advance(LAG_SECONDS)

    topics.check()

    assert "in" in topics
    assert not topics.missing


def test_a_topic_is_not_missed_while_no_broker_answers(
    topics: FoundTopics, clock: ManualClock, brokers: Brokers
) -> None:
    """It is looked for again later."""
    brokers.answer = AWAY
    clock.advance(LAG_SECONDS)
    topics.check()
    brokers.answer = UNKNOWN
    topics.check()
    clock.advance(LAG_SECONDS)

    with pytest.raises(UnknownTopicError):
        topics.check()


def test_a_right_that_is_missing_is_told(
    topics: FoundTopics, clock: ManualClock, brokers: Brokers
) -> None:
    """As what it is."""
    brokers.answer = FORBIDDEN
    clock.advance(LAG_SECONDS)

    with pytest.raises(AuthenticationError):
        topics.check()
