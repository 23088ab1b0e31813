"""Reads a topic of ours from its beginning, or from where a group left off.

ResultReader, DeadLetterReader and `topicserve results` are made of it; the asyncio readers run it
on a thread.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Generic, Self, TypeVar

from topicserve.backends.broker import Consumer
from topicserve.backends.errors import BackendUnavailableError
from topicserve.backends.own_process import own_process
from topicserve.backends.references.body_reader import BodyRead
from topicserve.producer import arguments
from topicserve.producer.positions import Positions
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.kafka_record import KafkaRecord, UnreadableHeaders

T = TypeVar("T")

OnInvalid = Callable[[KafkaRecord, InvalidRecordError], None]
"""Hears of a record that cannot be decoded and is passed over."""

OnUnavailable = Callable[[KafkaRecord, BackendUnavailableError], None]
"""Hears of a record whose body its store did not give in time, and that is passed over.

What it raises, the read raises, and the record is the first one of the next read.
"""

CheckTopic = Callable[[], None]
"""Raises UnknownTopicError without the topic, BackendUnavailableError without its brokers."""

# A client that is polled more briefly than this never joins a group (kafka-python on Apache Kafka).
POLL_SECONDS = 0.25
MAX_POLL_RECORDS = 1024
CLOSE_SECONDS = 5.0
COMMIT_SECONDS = 10.0
# How long a topic may be silent until it is asked whether it is there: a group is joined sooner.
FIRST_CHECK_SECONDS = 5.0
NEXT_CHECK_SECONDS = 30.0


@own_process("reader")
class TopicReader(Generic[T]):
    """Yields what `decode` makes of a topic's records; one thread uses it, and closes it.

    Offsets are committed by `commit()` alone. A record that cannot be decoded raises
    InvalidRecordError out of `read` (which may be called again to go on), or is told to
    `on_invalid` where that is given. One whose stored body cannot be read now raises
    BackendUnavailableError and is read again, or is told to `on_unavailable` and passed over.
    """

    def __init__(
        self,
        consumer: Consumer,
        topic: str,
        decode: Callable[[KafkaRecord], T | None],
        *,
        on_invalid: OnInvalid | None = None,
        on_unavailable: OnUnavailable | None = None,
        check_topic: CheckTopic | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`decode` returns None for a record that is not wanted.

        `check_topic` is called where no record comes, since a consumer waits for brokers that are
        away without a word.
        """
        self._consumer = consumer
        self._topic = arguments.topic_name(topic)
        self._decode = decode
        self._on_invalid = on_invalid
        self._on_unavailable = on_unavailable
        self._check_topic = check_topic
        self._clock = clock
        self._positions = Positions()
        self.polled: deque[KafkaRecord] = deque()
        """Records that are not yielded yet."""
        self.body_read: BodyRead | None = None
        """What another thread may abandon of the record that is being decoded."""
        self._subscribed = False

    def read(
        self,
        *,
        limit: int | None = None,
        timeout_seconds: float | None = None,
        until_end: bool = False,
    ) -> Iterator[T]:
        """Yield results, waiting for each.

        Ends after `limit` of them, when `timeout_seconds` pass in which no record comes, or, with
        `until_end`, when everything that the topic holds has been read. Without any of these it
        never ends. What was polled but not yielded is kept for the next call.

        Raises UnknownTopicError for a topic that does not exist, and BackendUnavailableError where
        no broker answers: when nothing has come for some seconds at the start, and with `limit` or
        `until_end` alone also later. A topic that merely has no records raises neither, and a read
        that never ends waits for brokers that go away.
        """
        if limit is not None:
            arguments.whole_number(limit, "limit")
        if timeout_seconds is not None:
            arguments.seconds(timeout_seconds, "timeout_seconds")
        return self._read(limit, timeout_seconds, until_end)

    def _read(
        self, limit: int | None, timeout_seconds: float | None, until_end: bool
    ) -> Iterator[T]:
        count = 0
        while limit is None or count < limit:
            if not self.polled:
                wait = self.begin_wait(timeout_seconds, until_end, has_limit=limit is not None)
                while (found := self.poll_once(wait)) is None:
                    pass
                if not found:
                    return
            wanted = self.next_polled()
            if wanted is not None:
                count += 1
                yield wanted

    def commit(self) -> None:
        """Commit everything yielded (or passed over) so far for the group.

        Raises CommitRefusedError when the partitions have gone to another member, which will read
        the same records again.
        """
        if offsets := self._positions.next_offsets():
            self._consumer.commit(offsets, COMMIT_SECONDS)

    def close(self) -> None:
        """Leave the group and close the connection."""
        self._consumer.close(CLOSE_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def begin_wait(
        self, timeout_seconds: float | None, until_end: bool, *, has_limit: bool
    ) -> "Wait":
        """Return a wait for records, to be given to `poll_once` until that has an answer."""
        is_unending = not until_end and not has_limit
        return Wait(timeout_seconds, until_end, not is_unending, self._clock())

    def poll_once(self, wait: "Wait") -> bool | None:
        """Poll once, for POLL_SECONDS at most.

        True when `polled` has records, False when none will come, None to be asked again.
        """
        if not self._subscribed:
            self._consumer.subscribe([self._topic], self._positions)
            self._subscribed = True
        self.polled.extend(self._consumer.poll(POLL_SECONDS, MAX_POLL_RECORDS))
        if self.polled:
            return True
        if wait.until_end and self._at_end():
            return False
        silent_seconds = self._clock() - wait.start
        is_over = wait.timeout_seconds is not None and silent_seconds >= wait.timeout_seconds
        if is_over or silent_seconds >= wait.check_after_seconds:
            wait.check_after_seconds = silent_seconds + NEXT_CHECK_SECONDS
            self._check(is_needed=wait.has_end and wait.timeout_seconds is None)
        return False if is_over else None

    def next_polled(self) -> T | None:
        """Return what the first polled record is; None for one that is not wanted.

        Raises InvalidRecordError for one that cannot be read, unless `on_invalid` is told. For one
        whose body lies elsewhere and cannot be read now, `on_unavailable` is told; without it
        BackendUnavailableError is raised, and that is the first one again the next time.
        """
        return self.take_first(self.decode_first())

    def decode_first(
        self, body_read: BodyRead | None = None
    ) -> T | InvalidRecordError | BackendUnavailableError | None:
        """Return what the first polled record is, which stays there; `take_first` is next.

        Takes no record: its caller may be cancelled meanwhile, and abandon `body_read`.
        """
        self.body_read = body_read
        record = self.polled[0]
        if isinstance(record.headers, UnreadableHeaders):
            return InvalidRecordError("record", record.headers.problem)
        try:
            return self._decode(record)
        except InvalidRecordError as error:
            return error
        except BackendUnavailableError as error:
            if self._on_unavailable is None:
                raise
            return error

    def take_first(
        self, decoded: T | InvalidRecordError | BackendUnavailableError | None
    ) -> T | None:
        """Take the first polled record, and return what it was decoded to; see `next_polled`."""
        if isinstance(decoded, BackendUnavailableError):
            assert self._on_unavailable is not None
            self._on_unavailable(self.polled[0], decoded)  # before it is taken: it may raise
            decoded = None
        record = self.polled.popleft()
        self._positions.passed(record)
        if not isinstance(decoded, InvalidRecordError):
            return decoded
        if self._on_invalid is None:
            raise decoded
        self._on_invalid(record, decoded)
        return None

    def _check(self, *, is_needed: bool) -> None:
        """Ask whether the topic is there, unless it is known and that is enough."""
        if self._check_topic is None or (self._positions.is_known and not is_needed):
            return
        self._check_topic()
        self._positions.is_known = True

    def _at_end(self) -> bool:
        """Tell whether the lag of every partition that we have is known to be nought."""
        stats = self._consumer.stats()
        return bool(stats.assigned) and all(
            stats.lag_records.get(partition) == 0 for partition in stats.assigned
        )


@dataclass
class Wait:
    """One wait for records, and when it ends."""

    timeout_seconds: float | None
    until_end: bool
    has_end: bool
    """Whether it ends, with records or without."""
    start: float
    check_after_seconds: float = field(default_factory=lambda: FIRST_CHECK_SECONDS)
