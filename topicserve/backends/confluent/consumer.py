"""The broker port's consumer on confluent-kafka."""

import ctypes
import logging
import time
from collections.abc import Callable, Sequence
from operator import length_hint
from typing import Any

import confluent_kafka
from confluent_kafka import KafkaError

from topicserve.backends.bounded_calls import BoundedCalls
from topicserve.backends.broker import ConsumerStats, Offsets, RebalanceListener, metadata_of
from topicserve.backends.confluent.careful import CarefulReader
from topicserve.backends.confluent.corrupt import CorruptBatches
from topicserve.backends.confluent.errors import PARTITION_EOF, translate, translated
from topicserve.backends.confluent.offsets import from_client, to_client
from topicserve.backends.confluent.seeks import RETRY_SECONDS, Seeks
from topicserve.backends.confluent.stalls import ReadPosition, StallWatch
from topicserve.backends.errors import (
    BackendError,
    BackendUnavailableError,
    CommitRefusedError,
    UnknownTopicError,
)
from topicserve.backends.own_process import own_process
from topicserve.wire.dead_letter import TRUNCATED_HEADER
from topicserve.wire.kafka_record import KafkaRecord, TopicPartition, UnreadableHeaders

log = logging.getLogger(__name__)

# librdkafka's own limit for one call.
_MAX_CONSUME = 1_000_000
# How much of the time to close may go to the last rebalance, and for how long it is polled at once.
_REBALANCE_SHARE = 0.5
_LEAVE_POLL_SECONDS = 0.02
_COMMITTED_SECONDS = 5.0
_ANSWER_SECONDS = 5.0


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
        self._client = open_client(self._on_error)
        self._clock = clock
        self._listener: RebalanceListener | None = None
        self._assigned: set[TopicPartition] = set()
        self._found_topics: set[str] = set()
        self._paused: set[TopicPartition] = set()
        # Where the end of a partition was met: past aborted records and markers, which `position`
        # does not count, since it follows records.
        self._ends: dict[TopicPartition, int] = {}
        # What was assigned of deleted topics, until a record comes: their offsets are no one's, and
        # must not be committed for a topic that is created again.
        self._unread: set[TopicPartition] = set()
        # Where paused partitions go on, if someone sought there: `position` only follows records.
        self._sought: dict[TopicPartition, int] = {}
        # Where the group stood when partitions were assigned, if that is known.
        self._starts: dict[TopicPartition, int] = {}
        self._error: BaseException | None = None
        self._problem = ""
        self._calls = BoundedCalls("confluent-consumer")
        self._seeks = Seeks(self._client)
        self._corrupt = CorruptBatches(self._seeks.seek, self._log_end)
        self._careful = careful
        self._is_cooperative = is_cooperative
        self._is_static = is_static
        self._stalls = StallWatch(stall_seconds, clock)
        self._closed = False
        self._hangs = False

    def subscribe(self, topics: Sequence[str], listener: RebalanceListener) -> None:
        self._listener = listener
        with translated():
            self._client.subscribe(
                list(topics),
                on_assign=self._keeping_errors(self._on_assigned),
                on_revoke=self._keeping_errors(self._on_revoked),
                on_lost=self._keeping_errors(self._on_lost),
            )

    def poll(self, timeout_seconds: float, max_records: int) -> list[KafkaRecord]:
        deadline = self._clock() + timeout_seconds
        wait_seconds = timeout_seconds
        if self._careful:
            records = self._read_carefully(self._careful, max_records)
            if records:
                return records
        if self._stalls.is_due() and self._careful is not None:
            self._look_for_stalls(self._careful)
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
                self._client.pause(_theirs(kept))

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        kept = self._assigned.intersection(partitions)
        self._paused -= kept
        kept = {partition for partition in kept if not self._is_careful(partition)}
        if not kept:
            return
        with translated():
            self._client.resume(_theirs(kept))
            positions = self._client.position(_theirs(kept))
        # Left to itself librdkafka fetches again after half a second or more; a seek to where the
        # partition is makes it fetch now. (2.16: 700 ms against 3.)
        current = {_ours(theirs): _offset(theirs) for theirs in positions}
        resumed = {p: self._sought.pop(p, current[p]) for p in kept}
        self.seek({p: offset for p, offset in resumed.items() if offset is not None})

    def seek(self, offsets: Offsets) -> None:
        for partition, offset in offsets.items():
            if partition not in self._assigned:
                continue
            self._ends.pop(partition, None)
            self._corrupt.forget(partition)
            if self._careful is not None and self._is_careful(partition):
                self._careful.seek(partition, offset)
                continue
            if partition in self._paused:
                self._sought[partition] = offset
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
            answers = self._client.committed(_theirs(partitions), timeout_seconds)
        _raise_for_partitions(answers)
        return {_ours(theirs): from_client(theirs) for theirs in answers}

    def group_metadata(self) -> Any:
        with translated():
            return self._client.consumer_group_metadata()

    def stats(self) -> ConsumerStats:
        lag_records = {}
        with translated():
            positions = self._client.position(_theirs(self._assigned))
        for theirs in positions:
            partition = _ours(theirs)
            behind = self._lag_records(theirs, self._ends.get(partition), _offset(theirs))
            if behind is not None:
                lag_records[partition] = behind
        # Not what `position` says: it is still the old one after a seek.
        return ConsumerStats(
            frozenset(self._assigned),
            frozenset(self._paused),
            lag_records,
            dict(self._ends),
            self._problem,
        )

    def close(self, timeout_seconds: float) -> None:
        if self._closed:
            return
        self._closed = True
        if self._hangs:
            return
        try:
            with translated():
                self._calls.call("close", lambda: self._leave(timeout_seconds), timeout_seconds)
        except BackendUnavailableError as error:
            # The group finds out by itself, after the session timeout.
            log.warning("left without saying so: %s", error)

    def _leave(self, timeout_seconds: float) -> None:
        # A cooperative member without partitions leaves only if it unsubscribes; closed without,
        # it stays in the group, which then waits out its session to rebalance. (librdkafka 2.16.)
        # A static one is to stay: librdkafka keeps it only while it closes, not if it unsubscribes.
        try:
            if not self._is_static:
                self._client.unsubscribe()
                self._let_partitions_go(self._clock() + timeout_seconds * _REBALANCE_SHARE)
        finally:
            if self._careful is not None:
                self._careful.close()
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
        self._raise_error()
        if first is None:
            return []
        rest.insert(0, first)
        if self._seeks:
            rest = self._seeks.filter(rest)
        records = self._records(self._corrupt.filter(rest))
        if records and (self._ends or self._unread):
            self._forget_ends(rest, records)
        if records:
            self._problem = ""
        return records + self._corrupt.take_found()

    def _forget_ends(self, messages: list[Any], records: list[KafkaRecord]) -> None:
        """Keep an end only until the next record: of a topic created again it says nothing."""
        for partition in {TopicPartition(one.topic, one.partition) for one in records}:
            self._ends.pop(partition, None)
            self._unread.discard(partition)
        if len(records) != len(messages):  # ends came, too: what came last counts
            for message in messages:
                if message.error() is None:
                    self._ends.pop(_ours_of(message), None)
                elif message.error().code() == PARTITION_EOF:
                    self._ends[_ours_of(message)] = message.offset()

    def _records(self, messages: list[Any]) -> list[KafkaRecord]:
        records: list[KafkaRecord] = []
        while True:
            following = iter(messages)
            try:
                return records + [
                    KafkaRecord(
                        message.topic(),
                        message.partition(),
                        message.offset(),
                        message.timestamp()[1],
                        message.key(),
                        message.value(),
                        message.headers() or (),
                    )
                    for message in following
                    if message.error() is None or self._event(message)
                ]
            except SystemError:
                # What confluent-kafka raises for a header name that is not UTF-8, once: asked
                # again it says that there are no headers. All of them are lost.
                failed = len(messages) - length_hint(following) - 1
            records += self._records(messages[:failed])
            records.append(_unreadable(messages[failed]))
            messages = messages[failed + 1 :]

    def _event(self, message: Any) -> bool:
        """Take note of what is no record, or raise it. Returns False."""
        error = message.error()
        if error.code() == PARTITION_EOF:
            self._ends[_ours_of(message)] = message.offset()
            return False
        if self._corrupt.failed(message):
            log.warning("%s-%s: %s", message.topic(), message.partition(), error.str())
            return False
        problem = translate(error)
        if isinstance(problem, BackendUnavailableError | CommitRefusedError):
            # The client reconnects, or joins again, by itself.
            self._problem = _with_place(problem, message)
            log.warning("%s", self._problem)
            return False
        topic = message.topic()
        if isinstance(problem, UnknownTopicError) and topic in self._found_topics:
            gone = {partition for partition in self._assigned if partition.topic == topic}
            self._unread |= gone
            for partition in gone:
                self._ends.pop(partition, None)
            self._problem = f'the topic "{topic}" was deleted; waiting until it is created again'
            log.warning("%s", self._problem)
            return False
        raise problem

    def _on_error(self, error: KafkaError) -> None:
        problem = translate(error)
        if isinstance(problem, BackendUnavailableError):
            self._problem = str(problem)
            log.debug("%s", problem)
        else:
            self._error = problem

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _keeping_errors(
        self, tell: Callable[[list[TopicPartition]], None]
    ) -> Callable[[Any, Sequence[Any]], None]:
        """Return a callback for the client; what goes wrong in it is raised by `poll`.

        Raised within the callback it would leave the rebalance unfinished, and `close` waiting.
        """

        def call(_: Any, partitions: Sequence[Any]) -> None:
            try:
                tell([*map(_ours, partitions)])
            except BaseException as error:
                self._error = error

        return call

    def _on_assigned(self, partitions: list[TopicPartition]) -> None:
        assert self._listener is not None
        if partitions:
            self._assigned.update(partitions)
            self._found_topics.update(partition.topic for partition in partitions)
            self._listener.on_assigned(partitions)
            self._screen(partitions)

    def _screen(self, partitions: list[TopicPartition]) -> None:
        """Look at what librdkafka would fetch first, before it does."""
        if self._careful is None:
            return
        try:
            committed = self.committed(partitions, _COMMITTED_SECONDS)
        except BackendUnavailableError as error:
            log.warning("batches were not looked at before they are fetched: %s", error)
            return
        self._starts |= {p: int(offset) for p, offset in committed.items() if offset is not None}
        detours = self._careful.screen(partitions, committed)
        if not detours:
            return  # the library assigns what it was given
        for partition, detour in detours.items():
            self._careful.take(partition, detour)
        theirs = [
            confluent_kafka.TopicPartition(*partition, detours[partition].until)
            if partition in detours
            else confluent_kafka.TopicPartition(*partition)
            for partition in partitions
        ]
        with translated():
            if self._is_cooperative:
                self._client.incremental_assign(theirs)
            else:
                self._client.assign(theirs)
            self._client.pause(_theirs(detours))

    def _read_carefully(self, careful: CarefulReader, max_records: int) -> list[KafkaRecord]:
        records, done = careful.read(max_records, self._paused)
        for partition, offset in done.items():
            careful.forget(partition)
            log.warning("%s-%s: is read with librdkafka again", *partition)
            if partition in self._paused:
                self._sought[partition] = offset
                continue
            with translated():
                self._client.resume(_theirs([partition]))
            self._seeks.seek(partition, offset)
        return records

    def _look_for_stalls(self, careful: CarefulReader) -> None:
        watched = {p for p in self._assigned - self._paused - self._unread if p not in careful}
        places: dict[TopicPartition, ReadPosition] = {}
        with translated():
            for theirs in self._client.position(_theirs(watched)):
                partition = _ours(theirs)
                known = [self._ends.get(partition), _offset(theirs), self._starts.get(partition)]
                position = max((one for one in known if one is not None), default=0)
                places[partition] = ReadPosition(position, self._log_end(partition) or 0)
        for partition, place in self._stalls.stalled(places).items():
            self._get_past(careful, partition, place.position)

    def _get_past(self, careful: CarefulReader, partition: TopicPartition, position: int) -> None:
        """Read on behind what librdkafka does not get past, or raise an error if it is lost."""
        try:
            detour = careful.look_at(partition, position)
        except BackendError:
            return  # it is the broker that does not answer
        if detour is None:
            self._stalls.excuse(partition, position)  # a transaction is open, or it is slow
            return
        try:
            with translated():
                self._client.get_watermark_offsets(
                    confluent_kafka.TopicPartition(*partition), _ANSWER_SECONDS, cached=False
                )
        except BackendUnavailableError:
            # Freed at the interpreter's end it would wait for its threads, and the process for it.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._client))
            self._hangs = True
            raise BackendError(
                f"librdkafka hangs in a batch at offset {position} or behind it, of "
                f"{partition.topic}-{partition.partition}: it does not answer, and cannot be closed"
            ) from None
        careful.take(partition, detour)
        with translated():
            self._client.pause(_theirs([partition]))

    def _is_careful(self, partition: TopicPartition) -> bool:
        return self._careful is not None and partition in self._careful

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
        with translated():
            _raise_for_partitions(self._client.commit(offsets=theirs, asynchronous=False))

    def _on_lost(self, partitions: list[TopicPartition]) -> None:
        assert self._listener is not None
        self._forget(partitions)
        if partitions and not self._closed:
            self._listener.on_lost(partitions)

    def _forget(self, partitions: list[TopicPartition]) -> None:
        self._assigned.difference_update(partitions)
        self._paused.difference_update(partitions)
        self._unread.difference_update(partitions)
        for partition in partitions:
            self._ends.pop(partition, None)
            self._sought.pop(partition, None)
            self._starts.pop(partition, None)
            self._seeks.forget(partition)
            self._corrupt.forget(partition)
            if self._careful is not None:
                self._careful.forget(partition)

    def _log_end(self, partition: TopicPartition) -> int | None:
        with translated():
            watermarks = self._client.get_watermark_offsets(
                confluent_kafka.TopicPartition(*partition), cached=True
            )
        return None if watermarks is None or watermarks[1] < 0 else int(watermarks[1])

    def _lag_records(self, theirs: Any, end: int | None, position: int | None) -> int | None:
        at = max((known for known in (end, position) if known is not None), default=None)
        with translated():
            watermarks = self._client.get_watermark_offsets(theirs, cached=True)
        if at is None or watermarks is None or watermarks[1] < 0:
            return None
        return max(int(watermarks[1]) - at, 0)


def _with_place(problem: Exception, message: Any) -> str:
    """Return a problem with the partition that it is about, if it is one's."""
    topic, partition = message.topic(), message.partition()
    return str(problem) if topic is None else f"{topic}-{partition}: {problem}"


def _unreadable(message: Any) -> KafkaRecord:
    return KafkaRecord(
        message.topic(),
        message.partition(),
        message.offset(),
        message.timestamp()[1],
        message.key(),
        message.value(),
        UnreadableHeaders(
            "a header name is not UTF-8", [(TRUNCATED_HEADER, b"headers=unreadable")]
        ),
    )


def _raise_for_partitions(answers: Sequence[Any]) -> None:
    for theirs in answers:
        if theirs.error is not None:
            raise translate(theirs.error)


def _theirs(partitions: Any) -> list[Any]:
    return [confluent_kafka.TopicPartition(*partition) for partition in partitions]


def _ours(theirs: Any) -> TopicPartition:
    return TopicPartition(theirs.topic, theirs.partition)


def _ours_of(message: Any) -> TopicPartition:
    return TopicPartition(message.topic(), message.partition())


def _offset(theirs: Any) -> int | None:
    # Negative offsets stand for what is not known.
    return int(theirs.offset) if theirs.offset >= 0 else None
