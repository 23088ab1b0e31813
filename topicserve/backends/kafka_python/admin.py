"""The broker port's admin on kafka-python."""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import kafka
from kafka import errors
from kafka.admin import ConfigResource, ConfigResourceType, OffsetSpec

from topicserve.backends.bounded_calls import BoundedCalls
from topicserve.backends.broker import GroupDescription, GroupMember, LogOffsets
from topicserve.backends.errors import UnknownTopicError
from topicserve.backends.kafka_errors import class_of_code
from topicserve.backends.kafka_python.connection import ClientNetwork
from topicserve.backends.kafka_python.errors import translate, translated
from topicserve.backends.kafka_python.offsets import from_client
from topicserve.backends.kafka_python.silence import SilentBrokers
from topicserve.backends.own_process import own_process
from topicserve.wire.kafka_record import TopicIdentity, TopicPartition

T = TypeVar("T")

_NO_COORDINATOR = (
    errors.CoordinatorLoadInProgressError,
    errors.CoordinatorNotAvailableError,
    errors.NotCoordinatorError,
)
_COORDINATOR_PAUSE_SECONDS = 0.2


@own_process("Kafka admin client")
class KafkaPythonAdmin:
    """Asks a broker; connects with the first question."""

    def __init__(
        self,
        arguments: dict[str, Any],
        clock: Callable[[], float] = time.monotonic,
        silent: SilentBrokers | None = None,
    ) -> None:
        """`arguments` are KafkaAdminClient's, `silent` what all clients know of the brokers."""
        self._clock = clock
        self._silent = silent
        self._arguments = arguments
        self._client: Any = None
        self._calls = BoundedCalls("kafka-python-admin")

    def partitions(self, topic: str, timeout_seconds: float) -> int | None:
        described = self._described(topic, timeout_seconds)
        return None if described is None else len(described["partitions"])

    def create_topic(
        self,
        topic: str,
        partitions: int,
        timeout_seconds: float,
        config: Mapping[str, str] | None = None,
    ) -> bool:
        client = self._opened(timeout_seconds)
        wanted = {topic: {"num_partitions": partitions, "configs": dict(config or {})}}
        return self._changes(
            errors.TopicAlreadyExistsError,
            "create_topics",
            lambda: client.create_topics(
                wanted, timeout_ms=int(timeout_seconds * 1000), wait_for_metadata=True
            ),
            timeout_seconds,
        )

    def topic_config(self, topic: str, name: str, timeout_seconds: float) -> str | None:
        client = self._opened(timeout_seconds)
        asked = ConfigResource(ConfigResourceType.TOPIC, topic, {name: None})
        found = self._ask(
            "describe_configs",
            lambda: client.describe_configs([asked], config_filter="all"),
            timeout_seconds,
        )
        setting = found["topic"][topic].get(name)
        return None if setting is None else setting["value"]

    def delete_topic(self, topic: str, timeout_seconds: float) -> bool:
        client = self._opened(timeout_seconds)
        return self._changes(
            errors.UnknownTopicOrPartitionError,
            "delete_topics",
            lambda: client.delete_topics([topic], timeout_ms=int(timeout_seconds * 1000)),
            timeout_seconds,
        )

    def end_offsets(self, topic: str, timeout_seconds: float) -> dict[TopicPartition, int]:
        count = self.partitions(topic, timeout_seconds)
        if count is None:
            raise UnknownTopicError(f'the topic "{topic}" does not exist')
        latest = {kafka.TopicPartition(topic, number): OffsetSpec.LATEST for number in range(count)}
        found = self._ask(
            "list_partition_offsets",
            lambda: self._client.list_partition_offsets(
                latest, timeout_ms=int(timeout_seconds * 1000)
            ),
            timeout_seconds,
        )
        return {TopicPartition(*theirs): answer.offset for theirs, answer in found.items()}

    def log_offsets(
        self, partitions: Sequence[TopicPartition], timeout_seconds: float
    ) -> dict[TopicPartition, LogOffsets]:
        theirs = [kafka.TopicPartition(*partition) for partition in partitions]
        client = self._opened(timeout_seconds)
        timeout_ms = int(timeout_seconds * 1000)
        starts, ends = (
            self._ask(
                "list_partition_offsets",
                partial(
                    client.list_partition_offsets,
                    dict.fromkeys(theirs, spec),
                    timeout_ms=timeout_ms,
                ),
                timeout_seconds,
            )
            for spec in (OffsetSpec.EARLIEST, OffsetSpec.LATEST)
        )
        return {
            partition: LogOffsets(starts[their].offset, ends[their].offset)
            for partition, their in zip(partitions, theirs, strict=True)
        }

    def committed(
        self, group_id: str, partitions: Sequence[TopicPartition], timeout_seconds: float
    ) -> dict[TopicPartition, int | None]:
        client = self._opened(timeout_seconds)
        theirs = [kafka.TopicPartition(*partition) for partition in partitions]
        found = self._ask_group(
            "list_group_offsets",
            lambda: client.list_group_offsets({group_id: theirs}),
            timeout_seconds,
        )[group_id]
        offsets = {p: found.get(their) for p, their in zip(partitions, theirs, strict=True)}
        return {
            partition: None if one is None or one.offset < 0 else from_client(one)
            for partition, one in offsets.items()
        }

    def offsets_at_time(
        self, partitions: Sequence[TopicPartition], timestamp_ms: int, timeout_seconds: float
    ) -> dict[TopicPartition, int | None]:
        client = self._opened(timeout_seconds)
        theirs = [kafka.TopicPartition(*partition) for partition in partitions]
        found = self._ask(
            "list_partition_offsets",
            lambda: client.list_partition_offsets(
                dict.fromkeys(theirs, timestamp_ms), timeout_ms=int(timeout_seconds * 1000)
            ),
            timeout_seconds,
        )
        offsets = {p: found[their].offset for p, their in zip(partitions, theirs, strict=True)}
        return {partition: None if one < 0 else one for partition, one in offsets.items()}

    def topic_identity(self, topic: str, timeout_seconds: float) -> TopicIdentity | None:
        described = self._described(topic, timeout_seconds)
        if described is None:
            return None
        cluster = self._ask("describe_cluster", self._client.describe_cluster, timeout_seconds)
        topic_id = described.get("topic_id")
        found = b"" if topic_id is None else uuid.UUID(str(topic_id)).bytes
        return TopicIdentity.of(cluster.get("cluster_id"), found)

    def describe_group(self, group_id: str, timeout_seconds: float) -> GroupDescription:
        client = self._opened(timeout_seconds)
        found = self._ask_group(
            "describe_groups", lambda: client.describe_groups([group_id]), timeout_seconds
        )[group_id]
        members = (_member(one) for one in found["members"])
        return GroupDescription(found["group_state"], tuple(members))

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _opened(self, timeout_seconds: float) -> Any:
        if self._client is None:
            self._client = ClientNetwork(self._silent).open(
                kafka.KafkaAdminClient, self._arguments, timeout_seconds
            )
        return self._client

    def _described(self, topic: str, timeout_seconds: float) -> Any:
        """Return what a broker says of a topic, None where there is none of the name."""
        client = self._opened(timeout_seconds)
        (described,) = self._ask(
            "describe_topics", lambda: client.describe_topics([topic]), timeout_seconds
        )
        code = described["error_code"]
        if code == errors.UnknownTopicOrPartitionError.errno:
            return None
        if code:
            raise class_of_code(code)(f"Kafka: {topic}: {errors.for_code(code).__name__}")
        return described

    def _changes(
        self, done: type[Exception], name: str, order: Callable[[], T], timeout_seconds: float
    ) -> bool:
        """Have something changed; False where the broker says that it was `done` before."""
        try:
            with translated(done):
                self._calls.call(name, order, timeout_seconds)
        except done:
            return False
        return True

    def _ask_group(self, name: str, question: Callable[[], T], timeout_seconds: float) -> T:
        """Ask again while the group has no coordinator: a cluster makes one with the first group.

        The client asks once, where librdkafka asks until the time is over.
        """
        deadline = self._clock() + timeout_seconds
        while True:
            try:
                with translated(*_NO_COORDINATOR):
                    return self._calls.call(name, question, max(deadline - self._clock(), 0))
            except _NO_COORDINATOR as error:
                if self._clock() + _COORDINATOR_PAUSE_SECONDS >= deadline:
                    raise translate(error) from error
                time.sleep(_COORDINATOR_PAUSE_SECONDS)

    def _ask(self, name: str, question: Callable[[], T], timeout_seconds: float) -> T:
        # Not all of its questions take a time limit, and none in total.
        with translated():
            return self._calls.call(name, question, timeout_seconds)


def _member(described: Mapping[str, Any]) -> GroupMember:
    assignment = described["member_assignment"]
    # Bytes where the client that joined speaks another protocol than consumers do.
    topics = assignment["assigned_partitions"] if isinstance(assignment, Mapping) else ()
    return GroupMember(
        described["member_id"],
        described["client_id"],
        described["client_host"].removeprefix("/"),
        described.get("group_instance_id"),
        tuple(TopicPartition(one["topic"], n) for one in topics for n in one["partitions"]),
    )
