"""aiokafka itself, for the protocol suite; its event loop runs on a thread."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.structs import OffsetAndMetadata

from tests.support.raw_clients.raw_client import LIMIT_SECONDS, POLL_SECONDS, Partition, RawRecord

T = TypeVar("T")

_ASSIGNORS = {
    "range": RangePartitionAssignor,
    "roundrobin": RoundRobinPartitionAssignor,
    "sticky": StickyPartitionAssignor,
}


class Aiokafka:
    """See RawClient."""

    strategies = tuple(_ASSIGNORS)

    def __init__(self, bootstrap_servers: str) -> None:
        self._servers = bootstrap_servers
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._opened: list[Any] = []
        self._admin: Any = self.run(self._open_admin())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do work on the event loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(LIMIT_SECONDS * 2)

    def create_topic(self, topic: str, partitions: int) -> None:
        self.run(self._admin.create_topics([NewTopic(topic, partitions, 1)]))

    def create_partitions(self, topic: str, total: int) -> None:
        self.run(self._admin.create_partitions({topic: NewPartitions(total)}))

    def delete_topic(self, topic: str) -> None:
        self.run(self._admin.delete_topics([topic]))

    def topics(self) -> set[str]:
        return set(self.run(self._admin.list_topics()))

    def producer(self, **settings: Any) -> "_Producer":
        if settings.get("compression_type") == "none":
            del settings["compression_type"]

        async def start() -> Any:
            client = AIOKafkaProducer(bootstrap_servers=self._servers, **settings)
            await client.start()
            return client

        producer = _Producer(self.run(start()), self)
        self._opened.append(producer)
        return producer

    def consumer(self, group_id: str | None = None, **settings: Any) -> "_Consumer":
        if "partition_assignment_strategy" in settings:
            strategy = _ASSIGNORS[settings["partition_assignment_strategy"]]
            settings["partition_assignment_strategy"] = [strategy]

        async def start() -> Any:
            client = AIOKafkaConsumer(
                bootstrap_servers=self._servers,
                group_id=group_id,
                enable_auto_commit=False,
                **{"auto_offset_reset": "earliest"} | settings,
            )
            await client.start()
            return client

        consumer = _Consumer(self.run(start()), self)
        self._opened.append(consumer)
        return consumer

    def groups(self) -> set[str]:
        return {group[0] for group in self.run(self._admin.list_consumer_groups())}

    def members(self, group_id: str) -> int:
        (response,) = self.run(self._admin.describe_consumer_groups([group_id]))
        return len(response.groups[0][5])

    def group_offsets(self, group_id: str) -> dict[Partition, int]:
        return {at: found.offset for at, found in self._committed(group_id).items()}

    def commit_metadata(self, group_id: str) -> dict[Partition, str]:
        return {at: found.metadata for at, found in self._committed(group_id).items()}

    def close(self) -> None:
        for client in reversed(self._opened):
            client.close()
        self.run(self._admin.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LIMIT_SECONDS)
        self._loop.close()

    def _committed(self, group_id: str) -> dict[Partition, Any]:
        found = self.run(self._admin.list_consumer_group_offsets(group_id))
        return {tuple(partition): at for partition, at in found.items()}

    async def _open_admin(self) -> Any:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._servers)
        await admin.start()
        return admin


class _Producer:
    def __init__(self, client: Any, opener: Aiokafka) -> None:
        self._client = client
        self._run = opener.run
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
        work = self._client.send(topic, value, key, partition, timestamp_ms, list(headers))
        self._futures.append(self._run(work))

    def flush(self) -> None:
        futures, self._futures = self._futures, []

        async def wait() -> None:
            await asyncio.gather(*futures)

        self._run(wait())

    def begin(self) -> None:
        self._run(self._client.begin_transaction())

    def send_offsets(self, offsets: Mapping[Partition, int], group_id: str) -> None:
        theirs = {TopicPartition(*partition): at for partition, at in offsets.items()}
        self._run(self._client.send_offsets_to_transaction(theirs, group_id))

    def commit(self) -> None:
        self._run(self._client.commit_transaction())

    def abort(self) -> None:
        self._run(self._client.abort_transaction())

    def close(self) -> None:
        self._run(self._client.stop())


class _Consumer:
    def __init__(self, client: Any, opener: Aiokafka) -> None:
        self._client = client
        self._run = opener.run

    def subscribe(self, topic: str) -> None:
        self._on_loop(lambda: self._client.subscribe([topic]))

    def assign(self, *partitions: Partition) -> None:
        theirs = [TopicPartition(*partition) for partition in partitions]
        self._on_loop(lambda: self._client.assign(theirs))

    def seek(self, partition: Partition, offset: int) -> None:
        self._on_loop(lambda: self._client.seek(TopicPartition(*partition), offset))

    def poll(self) -> list[RawRecord]:
        polled = self._run(self._client.getmany(timeout_ms=int(POLL_SECONDS * 1000)))
        return [
            RawRecord(r.partition, r.offset, r.key, r.value, list(r.headers), r.timestamp)
            for found in polled.values()
            for r in found
        ]

    def assignment(self) -> set[Partition]:
        return {tuple(partition) for partition in self._client.assignment()}

    def commit(self, partition: Partition, offset: int, metadata: str = "") -> None:
        at = OffsetAndMetadata(offset, metadata)
        self._run(self._client.commit({TopicPartition(*partition): at}))

    def committed(self, partition: Partition) -> int | None:
        found: int | None = self._run(self._client.committed(TopicPartition(*partition)))
        return found

    def offsets(self, partition: Partition) -> tuple[int, int]:
        theirs = TopicPartition(*partition)
        first = self._run(self._client.beginning_offsets([theirs]))[theirs]
        return first, self._run(self._client.end_offsets([theirs]))[theirs]

    def offset_for_time(self, partition: Partition, timestamp_ms: int) -> int | None:
        theirs = TopicPartition(*partition)
        found = self._run(self._client.offsets_for_times({theirs: timestamp_ms}))[theirs]
        return None if found is None else int(found.offset)

    def close(self) -> None:
        self._run(self._client.stop())

    def _on_loop(self, call: Callable[[], object]) -> None:
        async def make() -> None:
            call()

        self._run(make())
