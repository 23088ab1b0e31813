"""Reads results, and dead letters, from the moment at which it was started."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import closing, suppress
from typing import NamedTuple, Protocol

from topicserve.backends.broker import Consumer, ConsumerStats, Offsets
from topicserve.backends.errors import BackendError, BackendUnavailableError
from topicserve.producer.errors import ProducerClosedError
from topicserve.wire.kafka_record import KafkaRecord, TopicPartition

POLL_SECONDS = 0.25
MAX_POLL_RECORDS = 1024
_ADMIN_SECONDS = 5.0
_CLOSE_SECONDS = 2.0
_RETRY_SECONDS = 1.0
_STATS_SECONDS = 0.5


class Answers(Protocol):
    """Who waits for what is read.

    Both calls come from the listener's thread, one at a time; they must be quick and must not
    raise.
    """

    def answer(self, record: KafkaRecord) -> None:
        """Take one record, on the listener's thread; one that answers no request is passed over."""

    def fail_all(self, error: BaseException) -> None:
        """Hear that nothing is read at present, and why."""


class EndOffsets(Protocol):
    """What a listener asks the brokers before it starts; an admin has it.

    Opened for the question and closed again, on the listener's thread.
    """

    def end_offsets(self, topic: str, timeout_seconds: float) -> Offsets:
        """Return each partition's next offset to be written."""

    def close(self) -> None:
        """Close the connections."""


class Progress(NamedTuple):
    """How far a listener has read."""

    lag_records: int
    """Records that it has not read yet, as far as it knows."""
    problem: str
    """What its client retries by itself; empty while all is well."""


class ResultListener:
    """One thread with one consumer, in a group of its own, that starts at the end of its topics.

    `ready` is done once that end is known and its partitions are assigned: what is published from
    then on is answered behind it, and at once.
    After an error that waiting does not help against (credentials, a missing topic) every request
    fails with it, and it starts again a second later.
    """

    def __init__(
        self,
        topics: Sequence[str],
        open_consumer: Callable[[], Consumer],
        open_admin: Callable[[], EndOffsets],
        answers: Answers,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open nothing: the thread does."""
        self._topics = list(dict.fromkeys(topics))
        self._open_consumer = open_consumer
        self._open_admin = open_admin
        self._answers = answers
        self._clock = clock
        self._closed = threading.Event()
        self._lock = threading.Lock()  # guards the two below
        self._thread: threading.Thread | None = None
        self._ready: Future[None] = Future()
        self._positions: _Positions | None = None
        self._progress = Progress(0, "")  # one assignment, no lock

    def ready(self) -> Future[None]:
        """Start the thread, if need be, and return what is done once results can be waited for.

        It raises what keeps the listener from starting.
        """
        with self._lock:
            if self._closed.is_set():
                raise ProducerClosedError("the client is closed")
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="topicserve-results", daemon=True
                )
                self._thread.start()
            return self._ready

    def progress(self) -> Progress:
        """Return how far it has read."""
        return self._progress

    def close(self) -> None:
        """Stop reading, and wait a little for the consumer to leave its group."""
        self._closed.set()
        with self._lock:
            thread, ready = self._thread, self._ready
        with suppress(InvalidStateError):  # it was ready
            ready.set_exception(BackendUnavailableError("the client was closed"))
        if thread is not None:
            thread.join(_CLOSE_SECONDS + POLL_SECONDS)

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._listen()
            except Exception as error:
                self._fail(error)
                self._closed.wait(_RETRY_SECONDS)

    def _listen(self) -> None:
        if self._positions is None:
            self._positions = _Positions(self._ends())
        positions = self._positions
        positions.begin_again()
        with closing(_Closing(self._open_consumer())) as opened:
            consumer = opened.consumer
            consumer.subscribe(self._topics, positions)
            told_at = self._clock()
            while not self._closed.is_set():
                polled = consumer.poll(POLL_SECONDS, MAX_POLL_RECORDS)
                for record in positions.wanted(consumer, polled):
                    self._answers.answer(record)
                if positions.are_begun and not self._ready.done():
                    with suppress(InvalidStateError):  # closed meanwhile
                        self._ready.set_result(None)
                if self._clock() - told_at >= _STATS_SECONDS:
                    told_at = self._clock()
                    self._progress = positions.progress(consumer.stats())

    def _ends(self) -> dict[TopicPartition, int]:
        """Return the end of every topic, waiting for brokers that are away."""
        while True:
            try:
                with closing(self._open_admin()) as admin:
                    return {
                        partition: end
                        for topic in self._topics
                        for partition, end in admin.end_offsets(topic, _ADMIN_SECONDS).items()
                    }
            except BackendUnavailableError as error:
                self._progress = Progress(0, str(error))
                if self._closed.wait(_RETRY_SECONDS):
                    raise

    def _fail(self, error: Exception) -> None:
        """Tell everyone who waits, and begin again."""
        self._progress = Progress(0, str(error))
        with self._lock:
            failed, self._ready = self._ready, Future()
        if not failed.done():
            failed.set_exception(error)
        self._answers.fail_all(error)


class _Closing:
    """A consumer whose `close` takes no time limit, and raises nothing."""

    def __init__(self, consumer: Consumer) -> None:
        self.consumer = consumer

    def close(self) -> None:
        with suppress(BackendError):
            self.consumer.close(_CLOSE_SECONDS)


class _Positions:
    """Where each partition is read on; partitions that are new since the start, from offset 0.

    A client may call its listener from a thread of its own, but only while it is polled.
    """

    def __init__(self, ends: Offsets) -> None:
        self._next_offsets = dict(ends)
        self._to_seek: set[TopicPartition] = set()
        self._is_assigned = False

    @property
    def are_begun(self) -> bool:
        """Return whether partitions were assigned, and are read from where they start."""
        return self._is_assigned and not self._to_seek

    def begin_again(self) -> None:
        """Forget what the last consumer was assigned; the next one reads on where it was."""
        self._to_seek.clear()
        self._is_assigned = False

    def on_assigned(self, partitions: Sequence[TopicPartition]) -> None:
        self._to_seek.update(partitions)
        self._is_assigned = True

    def on_revoked(self, partitions: Sequence[TopicPartition]) -> Offsets:
        self.on_lost(partitions)
        return {}

    def on_lost(self, partitions: Sequence[TopicPartition]) -> None:
        self._to_seek.difference_update(partitions)

    def wanted(self, consumer: Consumer, polled: list[KafkaRecord]) -> list[KafkaRecord]:
        """Return what is not from before the start; seeks where a partition was just assigned."""
        if self._to_seek:
            known = self._to_seek & self._next_offsets.keys()
            polled = [r for r in polled if TopicPartition(r.topic, r.partition) not in known]
            self._seek(consumer, known)
        for record in polled:
            partition = TopicPartition(record.topic, record.partition)
            self._next_offsets[partition] = record.offset + 1
        return polled

    def _seek(self, consumer: Consumer, known: set[TopicPartition]) -> None:
        for partition in list(self._to_seek):
            # librdkafka refuses until it fetches the partition: the next poll tries again.
            with suppress(BackendError):
                if partition in known:
                    consumer.seek({partition: self._next_offsets[partition]})
                self._to_seek.discard(partition)

    def progress(self, stats: ConsumerStats) -> Progress:
        """Return how far we have read."""
        return Progress(sum(stats.lag_records.values()), stats.problem)
