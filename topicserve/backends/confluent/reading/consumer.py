"""The broker port's consumer on confluent-kafka."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import KafkaError

from topicserve.backends.bounded_calls import BoundedCalls
from topicserve.backends.broker import ConsumerStats, Offsets, RebalanceListener, metadata_of
from topicserve.backends.confluent.errors import PARTITION_EOF, translate, translated
from topicserve.backends.confluent.offsets import from_client, to_client
from topicserve.backends.confluent.reading.careful import CarefulReader
from topicserve.backends.confluent.reading.client_errors import ClientErrors
from topicserve.backends.confluent.reading.corrupt import CorruptBatches
from topicserve.backends.confluent.reading.detours import Detours
from topicserve.backends.confluent.reading.messages import partition_of, records_of, with_place
from topicserve.backends.confluent.reading.partitions import (
    AssignedPartitions,
    ours_of,
    raise_for_partitions,
    theirs_of,
)
from topicserve.backends.confluent.reading.repeated_headers import RepeatedHeaders
from topicserve.backends.confluent.reading.seeks import RETRY_SECONDS, Seeks
from topicserve.backends.confluent.reading.stalls import StallWatch
from topicserve.backends.confluent.reading.topics import FoundTopics
from topicserve.backends.errors import (
    BackendUnavailableError,
    CommitRefusedError,
    UnknownTopicError,
)
from topicserve.backends.own_process import own_process
from topicserve.wire.kafka_record import KafkaRecord, TopicPartition

log = logging.getLogger(__name__)

# librdkafka's own limit for one call.
_MAX_CONSUME = 1_000_000
# How much of the time to close may go to the last rebalance, and for how long it is polled at once.
_REBALANCE_SHARE = 0.5
_LEAVE_POLL_SECONDS = 0.02


@own_process("Kafka consumer")
class ConfluentConsumer:
    """A member of a group. The listener is called inside `poll`, on the thread that polls."""

    def __init__(
        self,
        open_client: Callable[[Callable[[KafkaError], None]], Any],
        clock: Callable[[], float] = time.monotonic,
        careful: CarefulReader | None = None,
        *,
        is_cooperative: bool = True,
        is_static: bool = False,
        stall_seconds: float = 10.0,
    ) -> None:
        """`open_client` makes a confluent_kafka.Consumer that tells its errors to the argument.

        `careful` looks at batches before librdkafka does; `is_cooperative` says how the group gives
        partitions. With `is_static` (group.instance.id) a restart within the session keeps them:
        closing does not leave the group. A partition that stands still for `stall_seconds` is
        looked at, too.
        """
        self._errors = ClientErrors()
        self._client = open_client(self._errors.on_error)
        self._clock = clock
        self._listener: RebalanceListener | None = None
        self._topics = FoundTopics(self._client, clock)
        self._partitions = AssignedPartitions(self._client)
        self._assigned, self._paused = self._partitions.assigned, self._partitions.paused
        self._ends, self._unread = self._partitions.ends, self._partitions.unread
        self._calls = BoundedCalls("confluent-consumer")
        self._repeated = RepeatedHeaders()
        self._seeks = Seeks(self._client)
        self._corrupt = CorruptBatches(self._seeks.seek, self._partitions.log_end)
        self._detours = None
        if careful is not None:
            self._detours = Detours(
                *(self._client, self._partitions, self._seeks, careful),
                StallWatch(stall_seconds, clock),
                is_cooperative=is_cooperative,
            )
        self._is_static = is_static
        self._stats = ConsumerStats(frozenset(), frozenset(), {}, {}, "", False)
        self._closed = False
        self._is_member = False

    def subscribe(self, topics: Sequence[str], listener: RebalanceListener) -> None:
        self._listener = listener
        with translated():
            self._client.subscribe(
                list(topics),
                on_assign=self._errors.keeping(self._on_assigned),
                on_revoke=self._errors.keeping(self._on_revoked),
                on_lost=self._errors.keeping(self._on_lost),
            )

    def poll(self, timeout_seconds: float, max_records: int) -> list[KafkaRecord]:
        deadline = self._clock() + timeout_seconds
        wait_seconds = timeout_seconds
        if self._detours is not None:
            if self._detours and (records := self._detours.read(max_records)):
                return records
            self._detours.look_for_stalls()
        if self._topics.missing:
            self._topics.check()
        while True:
            if self._seeks:
                self._seeks.try_again()
                wait_seconds = min(wait_seconds, RETRY_SECONDS)
            records = self._poll_once(max(wait_seconds, 0), max_records)
            wait_seconds = deadline - self._clock()
            if records or wait_seconds <= 0:
                return records

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        kept = self._assigned.intersection(partitions)
        self._paused |= kept
        for partition in kept:
            self._corrupt.forget(partition)
        if kept:
            with translated():
                self._client.pause(theirs_of(kept))

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        kept = self._assigned.intersection(partitions)
        self._paused -= kept
        kept = {p for p in kept if self._detours is None or p not in self._detours}
        if not kept:
            return
        with translated():
            self._client.resume(theirs_of(kept))
        # Left to itself librdkafka fetches again after half a second or more; a seek to where the
        # partition is makes it fetch now. (2.16: 700 ms against 3.)
        current = self._partitions.positions(kept)
        resumed = {p: self._partitions.sought.pop(p, current[p]) for p in kept}
        self.seek({p: offset for p, offset in resumed.items() if offset is not None})

    def seek(self, offsets: Offsets) -> None:
        for partition, offset in offsets.items():
            if partition not in self._assigned:
                continue
            self._ends.pop(partition, None)
            self._corrupt.forget(partition)
            if self._detours is not None and partition in self._detours:
                self._detours.seek(partition, offset)
                continue
            if partition in self._paused:
                self._partitions.sought[partition] = offset
            self._seeks.seek(partition, offset)

    def commit(self, offsets: Offsets, timeout_seconds: float) -> None:
        # Waits for as long as the broker takes, so it has a thread of its own.
        offsets = {p: offset for p, offset in offsets.items() if p not in self._unread}
        if not offsets:
            return
        subject = {
            partition: (offset, metadata_of(offset)) for partition, offset in offsets.items()
        }
        self._calls.call("commit", lambda: self._commit(offsets), timeout_seconds, subject)

    def committed(
        self, partitions: Sequence[TopicPartition], timeout_seconds: float
    ) -> dict[TopicPartition, int | None]:
        with translated():
            answers = self._client.committed(theirs_of(partitions), timeout_seconds)
        raise_for_partitions(answers)
        return {ours_of(theirs): from_client(theirs) for theirs in answers}

    def group_metadata(self) -> Any:
        with translated():
            return self._client.consumer_group_metadata()

    def stats(self) -> ConsumerStats:
        # confluent-kafka lets one call at a time use a client: `position` would wait for a commit
        # that no broker answers, for a minute and more.
        if not self._calls.hangs:
            self._stats = ConsumerStats(
                frozenset(self._assigned),
                frozenset(self._paused),
                self._partitions.lag_records(),
                dict(self._ends),  # not what `position` says: it is still the old one after a seek
                self._errors.problem,
                self._is_member,
            )
        return self._stats

    def close(self, timeout_seconds: float) -> None:
        if self._closed:
            return
        self._closed = True
        if self._detours is not None and self._detours.hangs:
            return
        try:
            with translated():
                self._calls.call("close", lambda: self._leave(timeout_seconds), timeout_seconds)
        except BackendUnavailableError as error:
            # The group finds out by itself, after the session timeout.
            log.warning("could not leave the group cleanly: %s", error)

    def _leave(self, timeout_seconds: float) -> None:
        # A cooperative member without partitions leaves only if it unsubscribes; closed without,
        # it stays in the group, which then waits out its session to rebalance. (librdkafka 2.16.)
        # A static one is to stay: librdkafka keeps it only while it closes, not if it unsubscribes.
        try:
            if not self._is_static:
                self._client.unsubscribe()
                self._let_partitions_go(self._clock() + timeout_seconds * _REBALANCE_SHARE)
        finally:
            if self._detours is not None:
                self._detours.close()
            self._client.close()

    def _let_partitions_go(self, deadline: float) -> None:
        """Take part in the last rebalance before `close`, so that none is left for it.

        Within `close` the library's own callback holds the interpreter's lock while it waits for
        librdkafka's main thread, which by then may not answer any more: the whole process would
        stand still for good.
        """
        while self._clock() < deadline:
            if self._client.poll(_LEAVE_POLL_SECONDS) is None and not self._client.assignment():
                return

    def _poll_once(self, wait_seconds: float, max_records: int) -> list[KafkaRecord]:
        # `consume` waits until it has as many as asked for or the time is up, so it is only asked
        # for what is there already, behind the first, which is returned at once.
        with translated():
            first = self._client.poll(wait_seconds)
            rest = (
                self._client.consume(min(max_records - 1, _MAX_CONSUME), 0)
                if first is not None and max_records > 1
                else []
            )
        self._errors.raise_error()
        if first is None:
            return []
        rest.insert(0, first)
        if self._seeks:
            rest = self._seeks.filter(rest)
        records = records_of(self._corrupt.filter(rest), self._event, self._repeated)
        if records and (self._ends or self._unread):
            self._partitions.note_read(records)
            if len(records) != len(rest):
                self._keep_last_ends(rest)
        if records:
            self._errors.problem = ""
        return records + self._corrupt.take_found()

    def _keep_last_ends(self, messages: list[Any]) -> None:
        """Note the ends that came after the last record of their partition."""
        for message in messages:
            if message.error() is None:
                self._ends.pop(partition_of(message), None)
            elif message.error().code() == PARTITION_EOF:
                self._ends[partition_of(message)] = message.offset()

    def _event(self, message: Any) -> bool:
        """Take note of what is no record, or raise it. Returns False."""
        error = message.error()
        if error.code() == PARTITION_EOF:
            self._ends[partition_of(message)] = message.offset()
            return False
        if self._corrupt.failed(message):
            log.warning("%s-%s: %s", message.topic(), message.partition(), error.str())
            return False
        problem = translate(error)
        if isinstance(problem, BackendUnavailableError | CommitRefusedError):
            # The client reconnects, or joins again, by itself.
            self._errors.note(with_place(problem, message))
            return False
        topic = message.topic()
        if not isinstance(problem, UnknownTopicError):
            raise problem
        if topic in self._topics:
            self._partitions.note_deleted(topic)
            self._errors.note(f'the topic "{topic}" was deleted; waiting until it is created again')
        else:
            self._topics.note_missing(topic)
        return False

    def _on_assigned(self, partitions: list[TopicPartition]) -> None:
        assert self._listener is not None
        self._is_member = True
        if partitions:
            self._assigned.update(partitions)
            for topic in {partition.topic for partition in partitions}:
                self._topics.note(topic)
            self._listener.on_assigned(partitions)
            if self._detours is not None:
                self._detours.screen(partitions, self.committed)

    def _on_revoked(self, partitions: list[TopicPartition]) -> None:
        assert self._listener is not None
        unread = self._unread.intersection(partitions)
        self._forget(partitions)
        if not partitions or self._closed:
            return  # leaving the group is the caller's own doing
        offsets = self._listener.on_revoked(partitions)
        offsets = {p: offset for p, offset in offsets.items() if p not in unread}
        try:
            # On this thread: librdkafka lets no other one commit while it calls back.
            self._commit(offsets)
        except (CommitRefusedError, BackendUnavailableError) as error:
            # The partitions go all the same; their next owner does the records again.
            log.warning("offsets of revoked partitions were not committed: %s", error)

    def _commit(self, offsets: Offsets) -> None:
        theirs = to_client(offsets)
        if not theirs:
            return
        try:
            with translated():
                raise_for_partitions(self._client.commit(offsets=theirs, asynchronous=False))
        except UnknownTopicError as error:  # it was deleted, which polls have yet to find out
            raise CommitRefusedError(str(error)) from error

    def _on_lost(self, partitions: list[TopicPartition]) -> None:
        assert self._listener is not None
        self._forget(partitions)
        if partitions and not self._closed:
            self._listener.on_lost(partitions)

    def _forget(self, partitions: list[TopicPartition]) -> None:
        self._partitions.forget(partitions)
        for partition in partitions:
            self._seeks.forget(partition)
            self._corrupt.forget(partition)
            if self._detours is not None:
                self._detours.forget(partition)
