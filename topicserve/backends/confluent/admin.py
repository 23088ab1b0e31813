"""The broker port's admin on confluent-kafka."""

import struct
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic

from topicserve.backends.broker import GroupDescription, GroupMember, LogOffsets
from topicserve.backends.confluent.errors import translate, translated
from topicserve.backends.confluent.questions import Questions
from topicserve.backends.confluent.settings import opened
from topicserve.backends.errors import BackendError, BackendUnavailableError, UnknownTopicError
from topicserve.backends.own_process import own_process
from topicserve.wire.kafka_record import TopicIdentity, TopicPartition

_POLL_SECONDS = 0.05
# Kafka's own words for a group's states.
_STATES = {
    "PREPARING_REBALANCING": "PreparingRebalance",
    "COMPLETING_REBALANCING": "CompletingRebalance",
    "STABLE": "Stable",
    "DEAD": "Dead",
    "EMPTY": "Empty",
    "UNKNOWN": "Unknown",
}


@own_process("Kafka admin client")
class ConfluentAdmin:
    """Makes and changes topics; what is asked over and over goes through `Questions`."""

    def __init__(
        self, configuration: dict[str, Any], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take AdminClient's configuration."""
        self._clock = clock
        self._error: BackendError | None = None
        self._client: Any = opened(AdminClient, configuration | {"error_cb": self._on_error})
        self._questions = Questions(configuration, clock)

    def partitions(self, topic: str, timeout_seconds: float) -> int | None:
        return self._questions.partitions(topic, timeout_seconds)

    def create_topic(
        self,
        topic: str,
        partitions: int,
        timeout_seconds: float,
        config: Mapping[str, str] | None = None,
    ) -> bool:
        wanted = NewTopic(topic, num_partitions=partitions, config=dict(config or {}))
        try:
            self._ask(
                lambda limit: self._client.create_topics([wanted], request_timeout=limit),
                timeout_seconds,
            )
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                return False
            raise translate(error.args[0]) from error
        return True

    def topic_config(self, topic: str, name: str, timeout_seconds: float) -> str | None:
        asked = ConfigResource(ConfigResource.Type.TOPIC, topic)
        try:
            found = self._ask(
                lambda limit: self._client.describe_configs([asked], request_timeout=limit),
                timeout_seconds,
            )
        except KafkaException as error:
            raise translate(error.args[0]) from error
        setting = found[asked].get(name)
        return None if setting is None else setting.value

    def delete_topic(self, topic: str, timeout_seconds: float) -> bool:
        try:
            self._ask(
                lambda limit: self._client.delete_topics([topic], request_timeout=limit),
                timeout_seconds,
            )
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return False
            raise translate(error.args[0]) from error
        return True

    def end_offsets(self, topic: str, timeout_seconds: float) -> dict[TopicPartition, int]:
        count = self.partitions(topic, timeout_seconds)
        if count is None:
            raise UnknownTopicError(f'the topic "{topic}" does not exist')
        partitions = [TopicPartition(topic, number) for number in range(count)]
        found = self.log_offsets(partitions, timeout_seconds)
        return {partition: offsets.end for partition, offsets in found.items()}

    def log_offsets(
        self, partitions: Sequence[TopicPartition], timeout_seconds: float
    ) -> dict[TopicPartition, LogOffsets]:
        return self._questions.log_offsets(partitions, timeout_seconds)

    def committed(
        self, group_id: str, partitions: Sequence[TopicPartition], timeout_seconds: float
    ) -> dict[TopicPartition, int | None]:
        return self._questions.committed(group_id, partitions, timeout_seconds)

    def offsets_at_time(
        self, partitions: Sequence[TopicPartition], timestamp_ms: int, timeout_seconds: float
    ) -> dict[TopicPartition, int | None]:
        return self._questions.offsets_at_time(partitions, timestamp_ms, timeout_seconds)

    def topic_identity(self, topic: str, timeout_seconds: float) -> TopicIdentity | None:
        if self.partitions(topic, timeout_seconds) is None:
            return None
        wanted = TopicCollection([topic])
        try:
            found = self._ask(
                lambda limit: self._client.describe_topics(wanted, request_timeout=limit),
                timeout_seconds,
            )[topic]
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return None
            raise translate(error.args[0]) from error
        cluster_id = self._questions.cluster_id(timeout_seconds)
        # Its text is not Kafka's: it has + and / where that has - and _.
        halves = found.topic_id.get_most_significant_bits, found.topic_id.get_least_significant_bits
        return TopicIdentity.of(cluster_id, struct.pack(">qq", *(half() for half in halves)))

    def describe_group(self, group_id: str, timeout_seconds: float) -> GroupDescription:
        try:
            found = self._ask(
                lambda limit: self._client.describe_consumer_groups(
                    [group_id], request_timeout=limit
                ),
                timeout_seconds,
            )[group_id]
        except KafkaException as error:
            raise translate(error.args[0]) from error
        return GroupDescription(_STATES[found.state.name], tuple(map(_member, found.members)))

    def close(self) -> None:
        self._questions.close()
        # The library closes an AdminClient when nothing refers to it.
        self._client = None

    def _ask(
        self, question: Callable[[float], Mapping[Any, "Future[Any]"]], timeout_seconds: float
    ) -> dict[Any, Any]:
        """Return every answer. Raises KafkaException for what the broker answers."""
        deadline = self._clock() + timeout_seconds
        with translated(KafkaException):
            futures = question(timeout_seconds)
            # Refused credentials do not end a question, they are only told while one polls.
            while not all(future.done() for future in futures.values()):
                self._client.poll(_POLL_SECONDS)
                if self._error is not None:
                    raise self._error
                if self._clock() > deadline + 1:
                    raise BackendUnavailableError(f"no answer within {timeout_seconds} s")
            return {asked: future.result() for asked, future in futures.items()}

    def _on_error(self, error: KafkaError) -> None:
        problem = translate(error)
        if not isinstance(problem, BackendUnavailableError):
            self._error = problem


def _member(described: Any) -> GroupMember:
    assigned = described.assignment.topic_partitions if described.assignment else ()
    return GroupMember(
        described.member_id,
        described.client_id,
        described.host.removeprefix("/"),
        described.group_instance_id or None,
        tuple(TopicPartition(one.topic, one.partition) for one in assigned),
    )
