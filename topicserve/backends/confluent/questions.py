"""Asks a broker about topics and offsets through a confluent_kafka.Consumer in no group.

Not through an AdminClient: where a broker goes away and one of its requests runs into its time
limit, librdkafka (2.16.0) fails an assertion, `eonce->refcnt > 0`, and the whole process aborts
(its issues 3663 and 4605). A worker asks just then, and again and again.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import confluent_kafka
from confluent_kafka import KafkaError

from topicserve.backends.broker import LogOffsets
from topicserve.backends.confluent.errors import translate, translated
from topicserve.backends.confluent.offsets import from_client
from topicserve.backends.confluent.settings import opened
from topicserve.backends.errors import AuthenticationError, BackendError, BackendUnavailableError
from topicserve.wire.kafka_record import TopicPartition

T = TypeVar("T")

# A consumer must have a group; it neither joins this one nor commits to it.
_NO_GROUP = "topicserve-questions"
# A question is asked for so long at first, then for twice as long, until its time is over: between
# two the client tells of refused credentials, which end no question.
_FIRST_SECONDS = 0.5
_POLL_SECONDS = 0.05
_FIXED = {"enable.auto.commit": False, "isolation.level": "read_uncommitted"}


class Questions:
    """Opens its client with the first question. Questions belong to one thread at a time."""

    def __init__(
        self, configuration: dict[str, Any], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take a client's configuration, without a group."""
        self._configuration = configuration
        self._clock = clock
        self._refused: BackendError | None = None
        self._client: Any = None
        self._group_id = ""

    def partitions(self, topic: str, timeout_seconds: float) -> int | None:
        """Return how many partitions a topic has, None if there is no such topic."""
        found = self._ask(
            self._group_id or _NO_GROUP,
            lambda client, seconds: client.list_topics(topic, timeout=seconds).topics[topic],
            timeout_seconds,
        )
        if found.error is None:
            return len(found.partitions)
        if found.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return None
        raise translate(found.error)

    def cluster_id(self, timeout_seconds: float) -> str:
        """Return the cluster's id, empty where the brokers have none."""
        found = self._ask(
            self._group_id or _NO_GROUP,
            lambda client, seconds: client.list_topics(timeout=seconds).cluster_id,
            timeout_seconds,
        )
        return found or ""

    def log_offsets(
        self, partitions: Sequence[TopicPartition], timeout_seconds: float
    ) -> dict[TopicPartition, LogOffsets]:
        """Return the first and the next offset of each partition."""
        deadline = self._clock() + timeout_seconds
        return {
            partition: LogOffsets(*self._offsets(partition, deadline - self._clock()))
            for partition in partitions
        }

    def committed(
        self, group_id: str, partitions: Sequence[TopicPartition], timeout_seconds: float
    ) -> dict[TopicPartition, int | None]:
        """Return a group's committed offsets, None where there is none."""
        if not partitions:
            return {}
        theirs = [confluent_kafka.TopicPartition(*partition) for partition in partitions]
        answers = self._ask(
            group_id,
            lambda client, seconds: client.committed(theirs, timeout=seconds),
            timeout_seconds,
        )
        for answer in answers:
            if answer.error is not None:
                raise translate(answer.error)
        return {
            TopicPartition(answer.topic, answer.partition): from_client(answer)
            for answer in answers
        }

    def offsets_at_time(
        self, partitions: Sequence[TopicPartition], timestamp_ms: int, timeout_seconds: float
    ) -> dict[TopicPartition, int | None]:
        """Return the offset of the first record at or after a time; None where there is none."""
        if not partitions:
            return {}
        theirs = [confluent_kafka.TopicPartition(*one, timestamp_ms) for one in partitions]
        answers = self._ask(
            self._group_id or _NO_GROUP,
            lambda client, seconds: client.offsets_for_times(theirs, timeout=seconds),
            timeout_seconds,
        )
        for answer in answers:
            if answer.error is not None:
                raise translate(answer.error)
        return {
            TopicPartition(answer.topic, answer.partition): (
                int(answer.offset) if answer.offset >= 0 else None
            )
            for answer in answers
        }

    def close(self) -> None:
        """Close the client, if it was opened."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _offsets(self, partition: TopicPartition, timeout_seconds: float) -> tuple[int, int]:
        theirs = confluent_kafka.TopicPartition(*partition)
        start, end = self._ask(
            self._group_id or _NO_GROUP,
            lambda client, seconds: client.get_watermark_offsets(theirs, timeout=seconds),
            timeout_seconds,
        )
        return int(start), int(end)

    def _ask(self, group_id: str, question: Callable[[Any, float], T], timeout_seconds: float) -> T:
        """Return the answer. Raises BackendUnavailableError if there is none in that time."""
        client = self._opened(group_id)
        deadline = self._clock() + timeout_seconds
        seconds = _FIRST_SECONDS
        while True:
            left = max(deadline - self._clock(), _POLL_SECONDS)
            try:
                with translated():
                    answer = question(client, min(seconds, left))
            except BackendUnavailableError:
                client.poll(_POLL_SECONDS)
                if self._refused is not None:
                    raise self._refused from None
                if self._clock() >= deadline:
                    raise
            else:
                if answer is None:  # get_watermark_offsets says so where the time was too short
                    raise BackendUnavailableError("Kafka did not tell the offsets in time")
                return answer
            seconds *= 2

    def _opened(self, group_id: str) -> Any:
        if self._client is None or self._group_id != group_id:
            self.close()
            own = {"group.id": group_id, "error_cb": self._on_error}
            self._client = opened(confluent_kafka.Consumer, self._configuration | _FIXED | own)
            self._group_id = group_id
        return self._client

    def _on_error(self, error: KafkaError) -> None:
        problem = translate(error)
        if isinstance(problem, AuthenticationError):
            self._refused = problem
