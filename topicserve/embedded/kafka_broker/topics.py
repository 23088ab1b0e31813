"""The topics there are."""

import re
import uuid
from collections.abc import Mapping
from pathlib import Path

from topicserve.embedded.kafka_broker.error_codes import Code
from topicserve.embedded.kafka_broker.log_file import LogFile
from topicserve.embedded.kafka_broker.partition_log import PartitionLog

_LEGAL_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")
MAX_PARTITIONS = 1000


class Topic:
    """A topic's partitions and its own settings."""

    def __init__(self, name: str, config: Mapping[str, str]) -> None:
        self.name = name
        self.config = dict(config)
        self.id = uuid.uuid5(uuid.NAMESPACE_URL, name)
        self.partitions: list[PartitionLog] = []


class Topics:
    """Creates, finds and deletes topics; keeps their partitions' files under a directory."""

    def __init__(
        self,
        num_partitions: int,
        retention_bytes: int,
        directory: Path | None,
        max_message_bytes: int,
    ) -> None:
        self.num_partitions = num_partitions
        self.retention_bytes = retention_bytes
        self.max_message_bytes = max_message_bytes
        self._directory = directory
        self._topics: dict[str, Topic] = {}

    def names(self) -> list[str]:
        """Return all names."""
        return list(self._topics)

    def get(self, name: str) -> Topic | None:
        """Return a topic, if it is there."""
        return self._topics.get(name)

    def all(self) -> list[Topic]:
        """Return all topics."""
        return list(self._topics.values())

    def partition(self, name: str, index: int) -> PartitionLog | None:
        """Return a partition's log, if it is there."""
        topic = self._topics.get(name)
        if topic is None or not 0 <= index < len(topic.partitions):
            return None
        return topic.partitions[index]

    def create(self, name: str, partitions: int, config: Mapping[str, str]) -> Code:
        """Create a topic; -1 partitions means the default number."""
        if not _LEGAL_NAME.fullmatch(name) or name in (".", ".."):
            return Code.INVALID_TOPIC_EXCEPTION
        if name in self._topics:
            return Code.TOPIC_ALREADY_EXISTS
        count = self.num_partitions if partitions == -1 else partitions
        if not 1 <= count <= MAX_PARTITIONS:
            return Code.INVALID_PARTITIONS
        topic = self._topics[name] = Topic(name, config)
        self._grow(topic, count)
        return Code.NONE

    def grow(self, name: str, count: int) -> Code:
        """Give a topic more partitions."""
        topic = self._topics.get(name)
        if topic is None:
            return Code.UNKNOWN_TOPIC_OR_PARTITION
        if not len(topic.partitions) < count <= MAX_PARTITIONS:
            return Code.INVALID_PARTITIONS
        self._grow(topic, count)
        return Code.NONE

    def delete(self, name: str) -> Code:
        """Delete a topic with its records."""
        topic = self._topics.pop(name, None)
        if topic is None:
            return Code.UNKNOWN_TOPIC_OR_PARTITION
        for partition in topic.partitions:
            partition.close(delete=True)
        return Code.NONE

    def max_bytes(self, topic: Topic) -> int:
        """Return how large a batch of this topic may be."""
        return _number(topic.config.get("max.message.bytes"), self.max_message_bytes)

    def close(self) -> None:
        """Close all files."""
        for topic in self._topics.values():
            for partition in topic.partitions:
                partition.close()

    def _grow(self, topic: Topic, count: int) -> None:
        configured = _number(topic.config.get("retention.bytes"), -1)
        retention = self.retention_bytes if configured < 0 else configured
        for index in range(len(topic.partitions), count):
            file = None
            if self._directory is not None:
                file = LogFile(self._directory / f"{topic.name}-{index}.log")
            topic.partitions.append(PartitionLog(retention, file))


def _number(text: str | None, default: int) -> int:
    try:
        return default if text is None else int(text)
    except ValueError:
        return default
