"""Which of the topics that a consumer reads there are, as others create and delete them."""

import logging
from collections.abc import Callable, Collection, Iterable
from typing import Any

from topicserve.backends.errors import UnknownTopicError
from topicserve.backends.kafka_python.connection import ClientNetwork
from topicserve.wire.kafka_record import TopicPartition

log = logging.getLogger(__name__)

_METADATA_SECONDS = 1.0
_CHECK_SECONDS = 2.0


class SubscribedTopics:
    """Tells a topic that never was from one that is deleted, and from one that is created again.

    For the thread that polls, and the rebalance thread while that one waits.
    """

    def __init__(self, network: ClientNetwork, clock: Callable[[], float]) -> None:
        self._network = network
        self._clock = clock
        self.names: list[str] = []
        self.assigned: set[TopicPartition] = set()
        """The partitions that this member has."""
        self.unread: set[TopicPartition] = set()
        """Assigned partitions of topics that were deleted, until a record comes.

        Their offsets must not be committed for a topic that is created again.
        """
        self._found: set[str] = set()
        self._gone: dict[str, Any] = {}
        self._ids: dict[str, Any] = {}
        self._checked_at = clock()

    def opened(self) -> None:
        """Note that the client has just connected, and may not know the topics yet."""
        self._checked_at = self._clock()

    def assign(self, partitions: Collection[TopicPartition]) -> None:
        """Note that partitions were assigned: their topics are there."""
        self.assigned.update(partitions)
        self._found.update(partition.topic for partition in partitions)

    def note_read(self, partitions: Iterable[TopicPartition]) -> None:
        """Note that records of these partitions came."""
        if self.unread:
            self.unread.difference_update(partitions)

    def missing(self) -> list[str]:
        """Return the topics that the cluster does not have, as far as the client has heard."""
        cluster = self._network.cluster
        return [topic for topic in self.names if cluster.partitions_for_topic(topic) is None]

    def take_created_again(self) -> set[str]:
        """Return the topics that others took the place of, by their ids (Kafka 2.8).

        Nothing of their partitions is read yet.
        """
        found = set()
        for topic in self.names:
            topic_id = self._network.cluster.topic_id(topic)
            if topic_id is not None and topic_id != self._ids.get(topic):
                if topic in self._ids:
                    found.add(topic)
                self._ids[topic] = topic_id
        if found:
            self.unread.update(self.partitions_of(found))
            log.warning(
                "topics were created again and are read from auto.offset.reset: %s", sorted(found)
            )
        return found

    def partitions_of(self, topics: Collection[str]) -> list[TopicPartition]:
        """Return the assigned partitions of some topics."""
        return [partition for partition in self.assigned if partition.topic in topics]

    def check(self) -> str | None:
        """Return what is wrong with the topics, if that is news; look every few seconds.

        Raises UnknownTopicError for a topic that never was; one that is deleted is waited for.
        """
        now = self._clock()
        if now < self._checked_at + _CHECK_SECONDS:
            return None
        self._checked_at = now
        problem = None
        # What is missing may not have been heard of yet, so it is asked for before it is missed.
        if self.missing() and self._network.refresh_metadata(_METADATA_SECONDS):
            for topic in self.missing():
                if topic not in self._found:
                    raise UnknownTopicError(
                        f'the topic "{topic}" does not exist: create it; a consumer has none '
                        "created (allow.auto.create.topics)"
                    )
                problem = self._note_gone(topic) or problem
        for topic in set(self.names) - set(self.missing()):
            self._found.add(topic)
            if topic in self._gone:
                self._note_back(topic)
        return problem

    def _note_gone(self, topic: str) -> str | None:
        if topic in self._gone:
            return None
        self._gone[topic] = self._ids.get(topic)
        self.unread.update(self.partitions_of({topic}))
        problem = f'the topic "{topic}" was deleted; waiting until it is created again'
        log.warning("%s", problem)
        return problem

    def _note_back(self, topic: str) -> None:
        topic_id = self._gone.pop(topic)
        if topic_id is not None and topic_id == self._ids.get(topic):
            self.unread.difference_update(self.partitions_of({topic}))  # it was there all along
        log.warning('the topic "%s" exists again', topic)
