"""confluent-kafka itself, for the protocol suite."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from tests.support.raw_clients.raw_client import LIMIT_SECONDS, POLL_SECONDS, Partition, RawRecord


class Confluent:
    """See RawClient."""

    strategies = ("range", "roundrobin", "cooperative-sticky")

    def __init__(self, bootstrap_servers: str) -> None:
        self._servers = {"bootstrap.servers": bootstrap_servers}
        self._admin: Any = AdminClient(self._servers)
        self._opened: list[Any] = []

    def create_topic(self, topic: str, partitions: int) -> None:
        self._admin.create_topics([NewTopic(topic, partitions)])[topic].result(LIMIT_SECONDS)

    def create_partitions(self, topic: str, total: int) -> None:
        self._admin.create_partitions([NewPartitions(topic, total)])[topic].result(LIMIT_SECONDS)

    def delete_topic(self, topic: str) -> None:
        self._admin.delete_topics([topic])[topic].result(LIMIT_SECONDS)

    def topics(self) -> set[str]:
        return set(self._admin.list_topics(timeout=LIMIT_SECONDS).topics)

    def producer(self, **settings: object) -> "_Producer":
        client: Any = Producer(self._servers | _spelled(settings))
        if "transactional_id" in settings:
            client.init_transactions(LIMIT_SECONDS)
        producer = _Producer(client, self)
        self._opened.append(producer)
        return producer

    def consumer(self, group_id: str | None = None, **settings: Any) -> "_Consumer":
        fixed = {
            "group.id": group_id or "none",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_uncommitted",
        }
        consumer = _Consumer(Consumer(self._servers | fixed | _spelled(settings)))
        self._opened.append(consumer)
        return consumer

    def groups(self) -> set[str]:
        found = self._admin.list_consumer_groups().result(LIMIT_SECONDS)
        return {group.group_id for group in found.valid}

    def members(self, group_id: str) -> int:
        described = self._admin.describe_consumer_groups([group_id])[group_id]
        return len(described.result(LIMIT_SECONDS).members)

    def group_offsets(self, group_id: str) -> dict[Partition, int]:
        return {(one.topic, one.partition): one.offset for one in self._committed(group_id)}

    def commit_metadata(self, group_id: str) -> dict[Partition, str]:
        return {(one.topic, one.partition): one.metadata for one in self._committed(group_id)}

    def close(self) -> None:
        for client in reversed(self._opened):
            client.close()

    def _committed(self, group_id: str) -> list[Any]:
        asked = ConsumerGroupTopicPartitions(group_id)
        found = self._admin.list_consumer_group_offsets([asked])[group_id].result(LIMIT_SECONDS)
        return list(found.topic_partitions)


def _spelled(settings: Mapping[str, object]) -> dict[str, object]:
    return {name.replace("_", "."): value for name, value in settings.items()}


class _Producer:
    def __init__(self, client: Any, opener: Confluent) -> None:
        self._client = client
        self._opener = opener
        self._errors: list[Any] = []

    def send(
        self,
        topic: str,
        partition: int,
        value: bytes | None,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
        timestamp_ms: int | None = None,
    ) -> None:
        self._client.produce(
            topic,
            value,
            key,
            partition,
            on_delivery=self._delivered,
            timestamp=timestamp_ms or 0,
            headers=list(headers),
        )
        self._client.poll(0)

    def flush(self) -> None:
        left = self._client.flush(LIMIT_SECONDS)
        assert left == 0, f"{left} records were not acknowledged"
        errors, self._errors = self._errors, []
        assert not errors, errors

    def begin(self) -> None:
        self._client.begin_transaction()

    def send_offsets(self, offsets: Mapping[Partition, int], group_id: str) -> None:
        member: Any = Consumer(self._opener._servers | {"group.id": group_id})
        theirs = [TopicPartition(*partition, at) for partition, at in offsets.items()]
        metadata = member.consumer_group_metadata()
        self._client.send_offsets_to_transaction(theirs, metadata, LIMIT_SECONDS)
        member.close()

    def commit(self) -> None:
        self._client.commit_transaction(LIMIT_SECONDS)

    def abort(self) -> None:
        self._client.abort_transaction(LIMIT_SECONDS)

    def close(self) -> None:
        with contextlib.suppress(KafkaException):  # it was fenced
            self._client.flush(1)

    def _delivered(self, error: Any, _: object) -> None:
        if error is not None:
            self._errors.append(error)


class _Consumer:
    def __init__(self, client: Any) -> None:
        self._client = client

    def subscribe(self, topic: str) -> None:
        self._client.subscribe([topic])

    def assign(self, *partitions: Partition) -> None:
        self._client.assign([TopicPartition(*partition, 0) for partition in partitions])

    def seek(self, partition: Partition, offset: int) -> None:
        self._client.assign([TopicPartition(*partition, offset)])

    def poll(self) -> list[RawRecord]:
        first = self._client.poll(POLL_SECONDS)
        polled = [] if first is None else [first, *self._client.consume(5_000, 0)]
        return [
            RawRecord(
                m.partition(),
                m.offset(),
                m.key(),
                m.value(),
                m.headers() or [],
                m.timestamp()[1],
            )
            for m in polled
            if m.error() is None
        ]

    def assignment(self) -> set[Partition]:
        return {(one.topic, one.partition) for one in self._client.assignment()}

    def commit(self, partition: Partition, offset: int, metadata: str = "") -> None:
        at = TopicPartition(*partition, offset, metadata)
        (answer,) = self._client.commit(offsets=[at], asynchronous=False)
        assert answer.error is None, answer.error

    def committed(self, partition: Partition) -> int | None:
        (found,) = self._client.committed([TopicPartition(*partition)], LIMIT_SECONDS)
        return found.offset if found.offset >= 0 else None

    def offsets(self, partition: Partition) -> tuple[int, int]:
        found: tuple[int, int] = self._client.get_watermark_offsets(
            TopicPartition(*partition), LIMIT_SECONDS
        )
        return found

    def offset_for_time(self, partition: Partition, timestamp_ms: int) -> int | None:
        asked = [TopicPartition(*partition, timestamp_ms)]
        (found,) = self._client.offsets_for_times(asked, LIMIT_SECONDS)
        return found.offset if found.offset >= 0 else None

    def close(self) -> None:
        self._client.close()
