"""The broker port's consumer on kafka-python."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import kafka

from topicserve.backends.bounded_calls import BoundedCalls
from topicserve.backends.broker import ConsumerStats, Offsets, RebalanceListener
from topicserve.backends.errors import (
    BackendError,
    BackendUnavailableError,
    CommitRefusedError,
)
from topicserve.backends.kafka_python.connection import ClientNetwork
from topicserve.backends.kafka_python.errors import translated
from topicserve.backends.kafka_python.offsets import from_client, to_client
from topicserve.backends.kafka_python.reading.rebalance import Change, RebalanceThread
from topicserve.backends.kafka_python.reading.topics import SubscribedTopics
from topicserve.backends.kafka_python.workarounds.client import (
    commit_no_topic_that_is_gone,
    keep_joining,
    unpark_records,
)
from topicserve.backends.kafka_python.workarounds.unreadable import read_on
from topicserve.backends.own_process import own_process
from topicserve.wire.kafka_record import KafkaRecord, TopicPartition

log = logging.getLogger(__name__)

# One that is polled for less than 20 ms at a time never joins a group on Apache Kafka.
_MIN_POLL_SECONDS = 0.05
# What one attempt to open may take at least; polls that are shorter wait for it in turn.
_OPEN_SECONDS = 2.0
_METADATA_SECONDS = 1.0
_REVOKE_COMMIT_SECONDS = 10.0


@own_process("Kafka consumer")
class KafkaPythonConsumer:
    """A member of a group. Connects at the first `poll`; the listener is called inside `poll`."""

    def __init__(
        self,
        arguments: dict[str, Any],
        clock: Callable[[], float] = time.monotonic,
        network: ClientNetwork | None = None,
        *,
        max_decompressed_bytes: int = 128 * 1024 * 1024,
    ) -> None:
        """`arguments` are KafkaConsumer's."""
        self._max_decompressed_bytes = max_decompressed_bytes
        self._arguments = arguments
        self._clock = clock
        self._network = network or ClientNetwork()
        self._opening = BoundedCalls("kafka-python-open")
        self._client: Any = None
        self._topics = SubscribedTopics(self._network, clock)
        self._listener: RebalanceListener | None = None
        self._listener_error: BaseException | None = None
        self._assigned = self._topics.assigned
        self._unread = self._topics.unread
        self._paused: set[TopicPartition] = set()
        self._problem = ""
        self._closed = False

    def subscribe(self, topics: Sequence[str], listener: RebalanceListener) -> None:
        self._topics.names = list(topics)
        self._listener = listener

    def poll(self, timeout_seconds: float, max_records: int) -> list[KafkaRecord]:
        seconds = max(timeout_seconds, _MIN_POLL_SECONDS)
        deadline = self._clock() + seconds
        try:
            client = self._opened(seconds)
        except BackendUnavailableError as error:
            if not self._opening.unanswered:
                self._wait_for_broker(error, deadline)
            return []
        records = self._poll_once(client, deadline, max_records)
        self._problem = self._topics.check() or self._problem
        return records

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        kept = self._assigned.intersection(partitions)
        self._paused |= kept
        if kept:
            self._client.pause(*map(_theirs, kept))

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        kept = self._assigned.intersection(partitions)
        self._paused -= kept
        if kept:
            self._client.resume(*map(_theirs, kept))

    def seek(self, offsets: Offsets) -> None:
        for partition, offset in offsets.items():
            if partition in self._assigned:
                with translated():
                    self._client.seek(_theirs(partition), offset)

    def commit(self, offsets: Offsets, timeout_seconds: float) -> None:
        offsets = {p: offset for p, offset in offsets.items() if p not in self._unread}
        if not offsets:
            return
        client = self._opened(timeout_seconds)
        with translated():
            client.commit(to_client(offsets), timeout_ms=timeout_seconds * 1000)

    def committed(
        self, partitions: Sequence[TopicPartition], timeout_seconds: float
    ) -> dict[TopicPartition, int | None]:
        client = self._opened(timeout_seconds)
        with translated():
            return {
                partition: from_client(
                    client.committed(
                        _theirs(partition), metadata=True, timeout_ms=timeout_seconds * 1000
                    )
                )
                for partition in partitions
            }

    def group_metadata(self) -> Any:
        return self._opened(_OPEN_SECONDS).group_metadata()

    def stats(self) -> ConsumerStats:
        lag_records, positions = {}, {}
        for partition in self._assigned:
            # `position` may ask the broker where it does not know; what it knows is in the state.
            state = self._client._subscription.assignment.get(_theirs(partition))  # noqa: SLF001
            if state is None or state.position is None:
                continue
            positions[partition] = position = int(state.position.offset)
            if state.highwater is not None:
                lag_records[partition] = max(int(state.highwater) - position, 0)
        return ConsumerStats(
            frozenset(self._assigned),
            frozenset(self._paused),
            lag_records,
            positions,
            self._problem,
            self._is_member(),
        )

    def _is_member(self) -> bool:
        coordinator = getattr(self._client, "_coordinator", None)
        return coordinator is not None and coordinator.generation_if_stable() is not None

    def close(self, timeout_seconds: float) -> None:
        if self._closed:
            return
        if self._opening.unanswered:
            # What is open in a moment would stay open.
            with contextlib.suppress(BackendError):
                self._opened(timeout_seconds)
        self._closed = True
        if self._client is None:
            return
        try:
            with translated():
                self._client.close(autocommit=False, timeout_ms=timeout_seconds * 1000)
        except BackendUnavailableError as error:
            # The group finds out by itself, after the session timeout.
            log.warning("could not leave the group cleanly: %s", error)

    def _opened(self, timeout_seconds: float) -> Any:
        if self._closed:
            raise BackendError("the consumer is closed")
        if self._client is None:
            allowed_seconds = max(timeout_seconds, _OPEN_SECONDS)
            self._client = self._opening.call(
                "opening", lambda: self._open(allowed_seconds), timeout_seconds
            )
            self._topics.opened()
        return self._client

    def _open(self, timeout_seconds: float) -> Any:
        client = self._network.open(kafka.KafkaConsumer, self._arguments, timeout_seconds)
        read_on(client, self._max_decompressed_bytes)
        commit_no_topic_that_is_gone(client)
        if self._topics.names:
            listener = RebalanceThread(self._on_change, self._network.call_soon)
            client.subscribe(topics=self._topics.names, listener=listener)
            # Who joins before it knows the topics assigns nothing, and has to join again.
            self._network.refresh_metadata(_METADATA_SECONDS)
        return client

    def _poll_once(self, client: Any, deadline: float, max_records: int) -> list[KafkaRecord]:
        left_seconds = max(deadline - self._clock(), _MIN_POLL_SECONDS)
        unpark_records(client)
        polled: dict[Any, list[Any]] = {}
        problem: BackendError | None = None
        try:
            with translated():
                polled = client.poll(timeout_ms=left_seconds * 1000, max_records=max_records)
        except BackendError as error:
            problem = error
        self._raise_listener_error()
        self._network.raise_refused()
        if isinstance(problem, BackendUnavailableError):
            # The client asks for metadata where it finds no coordinator, and raises what becomes
            # of that; but it reconnects all the same.
            self._wait_for_broker(problem, deadline)
        elif problem is not None:
            raise problem
        keep_joining(client)
        if created_again := self._topics.take_created_again():
            _read_from_the_beginning(client, self._topics.partitions_of(created_again))
            polled = {p: found for p, found in polled.items() if p.topic not in created_again}
        self._topics.note_read(TopicPartition(*partition) for partition in polled)
        if polled:
            self._problem = ""
        return records_of(polled)

    def _wait_for_broker(self, problem: BackendUnavailableError, deadline: float) -> None:
        """Let a poll take its time, so that no one who polls again and again keeps a core busy."""
        self._problem = str(problem)
        log.warning("%s", problem)
        time.sleep(max(deadline - self._clock(), 0))

    def _on_change(self, change: Change, partitions: list[TopicPartition]) -> None:
        """Keep the books and tell the listener; the polling thread waits meanwhile."""
        try:
            self._tell(change, partitions)
        except BaseException as error:
            self._listener_error = error

    def _tell(self, change: Change, partitions: list[TopicPartition]) -> None:
        assert self._listener is not None
        if change is Change.ASSIGNED:
            self._topics.assign(partitions)
            self._listener.on_assigned(partitions)
            return
        self._assigned.difference_update(partitions)
        self._paused.difference_update(partitions)
        if self._closed:
            return  # leaving the group is the caller's own doing
        if change is Change.LOST:
            self._listener.on_lost(partitions)
        else:
            self._commit_revoked(self._listener.on_revoked(partitions))
        self._topics.note_read(partitions)

    def _commit_revoked(self, offsets: Offsets) -> None:
        # The client repeats what a topic that is gone refuses until the time is up.
        missing = self._topics.missing()
        left = {partition: o for partition, o in offsets.items() if partition.topic not in missing}
        try:
            self.commit(left, _REVOKE_COMMIT_SECONDS)
        except (CommitRefusedError, BackendUnavailableError) as error:
            # The partitions go all the same; their next owner does the records again.
            log.warning("offsets of revoked partitions were not committed: %s", error)

    def _raise_listener_error(self) -> None:
        error, self._listener_error = self._listener_error, None
        if error is not None:
            raise error


def records_of(polled: dict[Any, list[Any]]) -> list[KafkaRecord]:
    """Return what the client polled, as the port's records; those that were read at once are."""
    # ConsumerRecord begins (topic, partition, leader_epoch, offset, timestamp, timestamp_type,
    # key, value, headers): positions cost a third of what its attributes do.
    return [
        record
        if type(record) is KafkaRecord
        else KafkaRecord(topic, record[1], record[3], record[4], record[6], record[7], record[8])
        for (topic, _), found in polled.items()
        for record in found
    ]


def _theirs(partition: TopicPartition) -> Any:
    return kafka.TopicPartition(*partition)


def _read_from_the_beginning(client: Any, partitions: Iterable[TopicPartition]) -> None:
    """Forget positions in logs that are gone: what was read of them is not read of others."""
    for partition in partitions:
        if client._subscription.is_assigned(_theirs(partition)):  # noqa: SLF001
            client._subscription.request_offset_reset(_theirs(partition))  # noqa: SLF001
