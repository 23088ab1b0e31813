"""kafka-python itself, for the protocol suite."""

from collections.abc import Mapping, Sequence
from typing import Any

import kafka
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata

from tests.support.raw_clients.raw_client import LIMIT_SECONDS, POLL_SECONDS, Partition, RawRecord

_ASSIGNORS = {
    "range": RangePartitionAssignor,
    "roundrobin": RoundRobinPartitionAssignor,
    "sticky": StickyPartitionAssignor,
    "cooperative-sticky": CooperativeStickyAssignor,
}
_LIMIT_MS = int(LIMIT_SECONDS * 1000)


class KafkaPython:
    """See RawClient."""

    strategies = tuple(_ASSIGNORS)

    def __init__(self, bootstrap_servers: str) -> None:
        self._servers = bootstrap_servers
        self._admin: Any = kafka.KafkaAdminClient(bootstrap_servers=bootstrap_servers)
        self._opened: list[Any] = [self._admin]

    def create_topic(self, topic: str, partitions: int) -> None:
        self._admin.create_topics({topic: {"num_partitions": partitions}}, wait_for_metadata=True)

    def create_partitions(self, topic: str, total: int) -> None:
        self._admin.create_partitions({topic: total})

    def delete_topic(self, topic: str) -> None:
        self._admin.delete_topics([topic])

    def topics(self) -> set[str]:
        return set(self._admin.list_topics())

    def producer(self, **settings: object) -> "_Producer":
        if settings.get("compression_type") == "none":
            del settings["compression_type"]
        client = kafka.KafkaProducer(bootstrap_servers=self._servers, **settings)
        self._opened.append(client)
        if "transactional_id" in settings:
            client.init_transactions()
        return _Producer(client)

    def consumer(self, group_id: str | None = None, **settings: Any) -> "_Consumer":
        if "partition_assignment_strategy" in settings:
            strategy = _ASSIGNORS[settings["partition_assignment_strategy"]]
            settings["partition_assignment_strategy"] = [strategy]
        client = kafka.KafkaConsumer(
            bootstrap_servers=self._servers,
            group_id=group_id,
            enable_auto_commit=False,
            **{"auto_offset_reset": "earliest"} | settings,
        )
        self._opened.append(client)
        return _Consumer(client)

    def groups(self) -> set[str]:
        return {group["group_id"] for group in self._admin.list_groups()}

    def members(self, group_id: str) -> int:
        return len(self._admin.describe_groups([group_id])[group_id]["members"])

    def group_offsets(self, group_id: str) -> dict[Partition, int]:
        return {at: found.offset for at, found in self._committed(group_id).items()}

    def commit_metadata(self, group_id: str) -> dict[Partition, str]:
        return {at: found.metadata for at, found in self._committed(group_id).items()}

    def close(self) -> None:
        for client in reversed(self._opened):
            client.close()

    def _committed(self, group_id: str) -> dict[Partition, Any]:
        found = self._admin.list_group_offsets({group_id: None})[group_id]
        return {tuple(partition): at for partition, at in found.items()}


class _Producer:
    def __init__(self, client: Any) -> None:
        self._client = client
        self._futures: list[Any] = []

    def send(
        self,
        topic: str,
        partition: int,
        value: bytes | None,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
        timestamp_ms: int | None = None,
    ) -> None:
        self._futures.append(
            self._client.send(topic, value, key, list(headers), partition, timestamp_ms)
        )

    def flush(self) -> None:
        futures, self._futures = self._futures, []
        for future in futures:
            future.get(LIMIT_SECONDS)

    def begin(self) -> None:
        self._client.begin_transaction()

    def send_offsets(self, offsets: Mapping[Partition, int], group_id: str) -> None:
        theirs = {
            kafka.TopicPartition(*p): OffsetAndMetadata(at, "", -1) for p, at in offsets.items()
        }
        self._client.send_offsets_to_transaction(theirs, ConsumerGroupMetadata(group_id=group_id))

    def commit(self) -> None:
        self._client.commit_transaction()

    def abort(self) -> None:
        self._client.abort_transaction()

    def close(self) -> None:
        self._client.close(timeout=5)


class _Consumer:
    def __init__(self, client: Any) -> None:
        self._client = client

    def subscribe(self, topic: str) -> None:
        self._client.subscribe([topic])
        # 3.0.12: a member that joins before it knows the topic may never take in its assignment.
        self._client.partitions_for_topic(topic)

    def assign(self, *partitions: Partition) -> None:
        self._client.assign([kafka.TopicPartition(*partition) for partition in partitions])

    def seek(self, partition: Partition, offset: int) -> None:
        self._client.seek(kafka.TopicPartition(*partition), offset)

    def poll(self) -> list[RawRecord]:
        polled = self._client.poll(timeout_ms=POLL_SECONDS * 1000, max_records=5_000)
        return [
            RawRecord(r.partition, r.offset, r.key, r.value, list(r.headers), r.timestamp)
            for found in polled.values()
            for r in found
        ]

    def assignment(self) -> set[Partition]:
        return {tuple(partition) for partition in self._client.assignment()}

    def commit(self, partition: Partition, offset: int, metadata: str = "") -> None:
        at = OffsetAndMetadata(offset, metadata, -1)
        self._client.commit({kafka.TopicPartition(*partition): at}, timeout_ms=_LIMIT_MS)

    def committed(self, partition: Partition) -> int | None:
        found: int | None = self._client.committed(
            kafka.TopicPartition(*partition), timeout_ms=_LIMIT_MS
        )
        return found

    def offsets(self, partition: Partition) -> tuple[int, int]:
        theirs = kafka.TopicPartition(*partition)
        first = self._client.beginning_offsets([theirs])[theirs]
        return first, self._client.end_offsets([theirs])[theirs]

    def offset_for_time(self, partition: Partition, timestamp_ms: int) -> int | None:
        theirs = kafka.TopicPartition(*partition)
        found = self._client.offsets_for_times({theirs: timestamp_ms})[theirs]
        return None if found is None else int(found.offset)

    def close(self) -> None:
        self._client.close(timeout_ms=5_000)
