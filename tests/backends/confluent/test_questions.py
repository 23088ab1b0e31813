from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from tests.support.stages.records import ManualClock
from topicserve.backends.broker import LogOffsets
from topicserve.backends.confluent import questions as module
from topicserve.backends.confluent.admin import ConfluentAdmin
from topicserve.backends.confluent.questions import Questions
from topicserve.backends.errors import AuthenticationError, BackendUnavailableError
from topicserve.wire.kafka_record import TopicPartition

PARTITION = TopicPartition("in", 0)
AWAY = KafkaError(KafkaError._TIMED_OUT)


class SilentConsumer:
    """A consumer whose broker does not answer, until it has been asked so many times."""

    def __init__(self, configuration: dict[str, Any], clock: ManualClock, silent: int) -> None:
        self.configuration = configuration
        self.closed = False
        self.waited: list[float] = []
        self.on_poll: Callable[[], object] = lambda: None
        self._clock, self._silent = clock, silent

    def get_watermark_offsets(self, _: object, timeout: float) -> tuple[int, int]:
        self.waited.append(timeout)
        if len(self.waited) <= self._silent:
            self._clock.advance(timeout)
            raise KafkaException(AWAY)
        return 3, 10

    def poll(self, _: float) -> None:
        self.on_poll()

    def close(self) -> None:
        self.closed = True


class Asked:
    """Questions to a broker that is silent for so many of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, silent: int) -> None:
        self.clock = ManualClock()
        self.consumers: list[SilentConsumer] = []

        def opened(_: object, configuration: dict[str, Any]) -> SilentConsumer:
            self.consumers.append(SilentConsumer(configuration, self.clock, silent))
            return self.consumers[-1]

        monkeypatch.setattr(module, "opened", opened)
        self.questions = Questions({"bootstrap.servers": "127.0.0.1:1"}, self.clock)


def test_a_question_is_asked_again_for_longer_until_its_time_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between two the client tells what it has been refused."""
    asked = Asked(monkeypatch, silent=2)

    found = asked.questions.log_offsets([PARTITION], 5.0)

    assert found == {PARTITION: LogOffsets(3, 10)}
    assert asked.consumers[0].waited == [0.5, 1.0, 2.0]


def test_a_broker_that_stays_silent_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """No longer than the question may take."""
    asked = Asked(monkeypatch, silent=100)

    with pytest.raises(BackendUnavailableError):
        asked.questions.log_offsets([PARTITION], 5.0)

    assert sum(asked.consumers[0].waited) == pytest.approx(5.0, abs=0.1)


def test_refused_credentials_end_a_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client tries for ever, and only tells of it while it is polled."""
    asked = Asked(monkeypatch, silent=0)
    asked.questions.log_offsets([PARTITION], 5.0)
    consumer = asked.consumers[0]
    consumer._silent = 100
    refused = KafkaError(KafkaError._AUTHENTICATION)
    consumer.on_poll = lambda: consumer.configuration["error_cb"](refused)

    with pytest.raises(AuthenticationError):
        asked.questions.log_offsets([PARTITION], 5.0)

    assert len(consumer.waited) == 2


def test_a_worker_asks_no_admin_client_over_and_over() -> None:
    """One whose request is not answered in time ends the process, within librdkafka."""
    admin = ConfluentAdmin({"bootstrap.servers": "127.0.0.1:1"})
    admin._client = None

    for question in (
        lambda: admin.partitions("in", 0.1),
        lambda: admin.log_offsets([PARTITION], 0.1),
        lambda: admin.committed("group", [PARTITION], 0.1),
        lambda: admin.end_offsets("in", 0.1),
    ):
        with pytest.raises(BackendUnavailableError):
            question()
    admin.close()
