"""All topics: creating, growing and deleting them, and the bound on the records of all together."""

import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from topicserve.embedded.broker.config import BrokerConfig
from topicserve.embedded.broker.error_codes import ErrorCode, KafkaError
from topicserve.embedded.broker.log.journal import Journal, Key
from topicserve.embedded.broker.log.partition import Partition
from topicserve.embedded.broker.log.partition_files import PartitionFiles
from topicserve.embedded.broker.log.record_batch import RecordBatch
from topicserve.embedded.broker.topic_configs import (
    MAX_MESSAGE_BYTES,
    RETENTION_BYTES,
    SEGMENT_BYTES,
    check_topic_configs,
)

_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")
# Of all topics together: each costs memory, and a file where files are kept.
_MAX_PARTITIONS = 10_000


@dataclass(slots=True)
class Topic:
    """A topic; one that is deleted and made again has another id."""

    name: str
    topic_id: UUID
    configs: Mapping[str, str | None]
    partitions: list[Partition] = field(default_factory=list)

    def setting(self, name: str, default: int) -> int:
        """Return a setting that is a number."""
        return int(self.configs.get(name) or default)


class Topics:
    """All topics; keeps their records within what may be retained.

    Which topics there are is in the journal, their records in the partitions' files. All calls come
    from the event loop's thread, but for the constructor, which loads what is there.
    """

    def __init__(self, config: BrokerConfig, journal: Journal) -> None:
        self._config = config
        self._journal = journal
        self._topics: dict[str, Topic] = {}
        self._size_bytes = 0
        self._files = config.data_dir and config.data_dir / "topics"
        for (name,), fact in journal.facts("topic").items():
            topic = Topic(str(name), UUID(fact["topic_id"]), fact["configs"])
            self._open(topic, fact["partitions"])
        for (name, index), fact in journal.facts("log_start").items():
            partition = self.partition(str(name), int(index))
            self._size_bytes -= partition.delete_before(min(fact["offset"], partition.end_offset))
        self._delete_orphans()

    def __iter__(self) -> Iterator[Topic]:
        return iter(self._topics.values())

    def find(self, name: str | None, topic_id: UUID | None = None) -> Topic | None:
        """Return a topic by its name or, where there is none, by its id."""
        if name is not None:
            return self._topics.get(name)
        return next((topic for topic in self if topic.topic_id == topic_id), None)

    def partition(self, name: str, index: int) -> Partition:
        """Return a partition. Raises KafkaError UNKNOWN_TOPIC_OR_PARTITION."""
        topic = self._topics.get(name)
        if topic is None or not 0 <= index < len(topic.partitions):
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        return topic.partitions[index]

    def check_new(
        self, name: str, num_partitions: int, configs: Mapping[str, str | None] | None = None
    ) -> None:
        """Raise KafkaError where such a topic cannot be created.

        INVALID_TOPIC_EXCEPTION for its name, TOPIC_ALREADY_EXISTS, INVALID_PARTITIONS for their
        number and INVALID_CONFIG for a setting.
        """
        if not _NAME.fullmatch(name) or name in (".", ".."):
            raise KafkaError(
                ErrorCode.INVALID_TOPIC_EXCEPTION,
                "a topic's name has up to 249 letters, digits, dots, hyphens and underscores",
            )
        if name in self._topics:
            raise KafkaError(ErrorCode.TOPIC_ALREADY_EXISTS, f"topic {name} already exists")
        self._check_partitions(num_partitions)
        check_topic_configs(configs or {})

    def create(
        self, name: str, num_partitions: int, configs: Mapping[str, str | None] | None = None
    ) -> Topic:
        """Create a topic. Raises KafkaError as `check_new`."""
        self.check_new(name, num_partitions, configs)
        topic = Topic(name, uuid4(), configs or {})
        self._keep(topic, num_partitions)
        self._open(topic, num_partitions)
        return topic

    def add_partitions(self, name: str, count: int, *, validate_only: bool) -> None:
        """Let a topic have this many partitions, more than now. Raises KafkaError."""
        topic = self._topics.get(name)
        if topic is None:
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        if count <= len(topic.partitions):
            raise KafkaError(
                ErrorCode.INVALID_PARTITIONS, f"{name} already has {len(topic.partitions)}"
            )
        self._check_partitions(count - len(topic.partitions))
        if not validate_only:
            self._keep(topic, count)
            self._open(topic, count)

    def delete(self, topic: Topic) -> None:
        """Delete a topic and its records."""
        # First the fact, then the files: a start in between finds files that belong to no topic.
        starts: dict[Key, Any] = {
            ("log_start", topic.name, each.index): None for each in topic.partitions
        }
        self._journal.put({("topic", topic.name): None, **starts})
        del self._topics[topic.name]
        for partition in topic.partitions:
            self._size_bytes -= partition.size_bytes
            partition.delete()

    def append(self, partition: Partition, batch: RecordBatch) -> int:
        """Append a batch, let the oldest records go where there are too many; return its offset.

        Segments go as a whole: those of this partition beyond the topic's `retention.bytes`, then
        the largest partition's beyond the broker's. Raises OSError where the file cannot be written
        to.
        """
        offset = partition.append(batch)
        self._size_bytes += len(batch.payload)
        limit = self._topics[partition.topic].setting(RETENTION_BYTES, -1)
        while partition.size_bytes > limit >= 0 and partition.has_older_segments:
            self._size_bytes -= partition.drop_oldest_segment()
        while self._size_bytes > self._config.retention_bytes:
            largest = max(self._partitions(), key=lambda each: each.size_bytes)
            self._size_bytes -= largest.drop_oldest_segment()
        return offset

    def delete_records(self, name: str, index: int, offset: int) -> int:
        """Let a partition begin at an offset, -1 for its end; return where it begins then.

        Raises KafkaError UNKNOWN_TOPIC_OR_PARTITION, OFFSET_OUT_OF_RANGE.
        """
        partition = self.partition(name, index)
        wanted = partition.end_offset if offset == -1 else offset
        self._size_bytes -= partition.delete_before(wanted)
        self._journal.put({("log_start", name, index): {"offset": partition.log_start_offset}})
        return partition.log_start_offset

    def message_max_bytes(self, name: str) -> int:
        """Return how large a batch may be in a topic."""
        return self._topics[name].setting(MAX_MESSAGE_BYTES, self._config.message_max_bytes)

    def close(self) -> None:
        """Close all files."""
        for partition in self._partitions():
            partition.close()

    def _partitions(self) -> Iterator[Partition]:
        for topic in self:
            yield from topic.partitions

    def _check_partitions(self, count: int) -> None:
        existing = sum(len(topic.partitions) for topic in self)
        if not 0 < count <= _MAX_PARTITIONS - existing:
            raise KafkaError(
                ErrorCode.INVALID_PARTITIONS,
                f"there can be 1 to {_MAX_PARTITIONS} partitions in all, {existing} exist",
            )

    def _keep(self, topic: Topic, num_partitions: int) -> None:
        fact: dict[str, Any] = {
            "topic_id": str(topic.topic_id),
            "partitions": num_partitions,
            "configs": dict(topic.configs),
        }
        self._journal.put({("topic", topic.name): fact})

    def _open(self, topic: Topic, num_partitions: int) -> None:
        self._topics[topic.name] = topic
        for index in range(len(topic.partitions), num_partitions):
            directory = self._files and self._files / f"{topic.name}-{index}"
            files = PartitionFiles(directory) if directory else None
            segment_bytes = topic.setting(SEGMENT_BYTES, self._config.segment_bytes)
            partition = Partition(topic.name, index, segment_bytes, files)
            self._size_bytes += partition.size_bytes
            topic.partitions.append(partition)

    def _delete_orphans(self) -> None:
        if self._files is None:
            return
        self._files.mkdir(exist_ok=True)
        known = {f"{each.topic}-{each.index}" for each in self._partitions()}
        for path in self._files.iterdir():
            if path.name not in known:
                shutil.rmtree(path)
