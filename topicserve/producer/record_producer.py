"""Publishes input records: metadata into the store first, then the record to its topic."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Self

from topicserve.backends.broker import Producer
from topicserve.backends.errors import BackendUnavailableError
from topicserve.backends.kafka_clients import open_broker
from topicserve.backends.metadata_store import MetadataStore
from topicserve.backends.own_process import own_process
from topicserve.backends.redis_store import (
    DEFAULT_KEY_PREFIX,
    DEFAULT_TTL_SECONDS,
    RedisMetadataStore,
)
from topicserve.producer import arguments
from topicserve.producer.backlog import Backlog, Entry
from topicserve.producer.encoder import RecordEncoder
from topicserve.producer.errors import PublishError
from topicserve.producer.publish_future import PublishFuture
from topicserve.producer.record import Record
from topicserve.wire.errors import InvalidRecordError

DEFAULT_SOURCE = "/topicserve/producer"
DEFAULT_TIMEOUT_SECONDS = 120.0  # Kafka's own delivery.timeout.ms
CLOSE_AFTER_ERROR_SECONDS = 5.0
MAX_IN_FLIGHT_RECORDS = 10_000
MAX_IN_FLIGHT_BYTES = 64 * 1024 * 1024
# What gathers while the store answers goes together: one round trip each, however many wait.
_MAX_STORED_TOGETHER = 1000
_FIRST_PAUSE_SECONDS = 0.05
_MAX_PAUSE_SECONDS = 2.0
_MARGIN_SECONDS = 30.0


@own_process("RecordProducer")
class RecordProducer:
    """Publishes records to one topic; any thread may call it.

    A record is sent only after its metadata is stored, so no worker meets one whose metadata is
    still on its way. Records of one key keep their order. While the store is away a record waits
    for `timeout_seconds` and then fails, as it does when the broker does not acknowledge it.

    It belongs to the process that made it: after `os.fork()` the child's calls raise ForkedError.
    Servers that fork (gunicorn, multiprocessing) make one in each process.

    Owns the Kafka producer and the store it is given, and closes them. Leaving the context waits
    for everything published and raises PublishError if any of it failed.
    """

    def __init__(
        self,
        producer: Producer,
        metadata_store: MetadataStore | None,
        topic: str,
        *,
        servable: str | None = None,
        source: str = DEFAULT_SOURCE,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        max_in_flight_records: int = MAX_IN_FLIGHT_RECORDS,
        max_in_flight_bytes: int = MAX_IN_FLIGHT_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._producer = producer
        self._metadata_store = metadata_store
        self._encoder = RecordEncoder(
            arguments.topic_name(topic), source, arguments.text_or_none(servable, "servable")
        )
        self._timeout_seconds = arguments.seconds(timeout_seconds, "timeout_seconds")
        # Storing its metadata and its way to the broker each have that long.
        self._future_seconds = 2 * self._timeout_seconds + _MARGIN_SECONDS
        self._clock = clock
        self._backlog = Backlog(max_in_flight_records, max_in_flight_bytes)
        self._gave_up = threading.Event()
        self._lock = threading.Lock()  # guards what follows
        self._thread: threading.Thread | None = None
        self._failures: dict[str, Exception] = {}
        self._failed_records = 0
        self._closed = False

    @classmethod
    def connect(
        cls,
        bootstrap_servers: str | Sequence[str],
        redis_url: str | None,
        topic: str,
        *,
        servable: str | None = None,
        source: str = DEFAULT_SOURCE,
        client: str = "kafka-python",
        kafka_settings: Mapping[str, object] | None = None,
        key_prefix: str = DEFAULT_KEY_PREFIX,
        ttl_seconds: float = DEFAULT_TTL_SECONDS,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> Self:
        """Return a producer with connections of its own.

        `kafka_settings` are Kafka's own names and values ("compression.type": "lz4"). Without a
        `redis_url`, records with metadata are refused. `ttl_seconds` is how long metadata is kept.
        Raises BackendConfigError naming the setting that is wrong.
        """
        store = None
        if arguments.text_or_none(redis_url, "redis_url") is not None:
            store = RedisMetadataStore(
                arguments.text(redis_url, "redis_url"),
                key_prefix=arguments.text(key_prefix, "key_prefix"),
                ttl_seconds=arguments.seconds(ttl_seconds, "ttl_seconds"),
            )
        arguments.topic_name(topic)  # before a connection is opened that would stay open
        limit = arguments.seconds(timeout_seconds, "timeout_seconds", minimum=0.001)
        settings: dict[str, object] = {"delivery.timeout.ms": int(limit * 1000)}
        settings |= arguments.settings_of(kafka_settings)
        servers = arguments.server_list(bootstrap_servers)
        broker = open_broker(client, {"bootstrap.servers": servers})
        return cls(
            broker.producer(settings),
            store,
            topic,
            servable=servable,
            source=source,
            timeout_seconds=timeout_seconds,
        )

    def publish(self, record: Record) -> PublishFuture:
        """Take a record, and return before it is published.

        Raises InvalidRecordError naming the field that is wrong, and TypeError for anything but a
        Record. Waits while as many records are
        in progress as may be, and raises BacklogFullError when that does not change in time.
        """
        return self.publish_many([record])[0]

    def publish_many(self, records: Iterable[Record]) -> list[PublishFuture]:
        """Take records in order; where one is invalid, none of them is published."""
        encoded = [self._encoder.encode(_checked(record)) for record in _several(records)]
        if self._metadata_store is None and any(one.metadata is not None for one in encoded):
            raise InvalidRecordError("metadata", "is given, but this producer has no store for it")
        self._start()
        futures = []
        for one in encoded:
            future = PublishFuture(one.record_id, self._future_seconds)
            entry = Entry(one, future, self._clock() + self._timeout_seconds)
            self._backlog.put(entry, self._timeout_seconds)
            futures.append(future)
        return futures

    def flush(self, timeout_seconds: float | None = None) -> None:
        """Wait until everything published is acknowledged or has failed.

        Raises PublishError for the records that have failed since the last call, and
        BackendUnavailableError when the time (default: `timeout_seconds`) runs out first.
        """
        limit = self._timeout_seconds if timeout_seconds is None else timeout_seconds
        left = self._backlog.wait_until_empty(limit)
        self._raise_failures()
        if left:
            raise BackendUnavailableError(f"{left} record(s) are still in progress after {limit} s")

    def close(self, timeout_seconds: float | None = None) -> None:
        """Publish what was taken, within the time given, and close the connections.

        What is left then fails. Raises PublishError for what failed since the last flush.
        """
        with self._lock:
            closed, self._closed = self._closed, True
        if closed:
            return
        limit = self._timeout_seconds if timeout_seconds is None else timeout_seconds
        deadline = self._clock() + limit
        self._backlog.close()
        self._backlog.wait_until_empty(limit)
        # From here on no one waits any more: neither the thread for the store, nor we for it.
        self._gave_up.set()
        left = self._claim(self._backlog.withdraw())
        self._finish(left, [BackendUnavailableError("closed before it was sent")] * len(left))
        self._producer.close(max(0.0, deadline - self._clock()))
        if self._metadata_store is not None:
            self._metadata_store.close()
        self._raise_failures()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
            return
        # A caller that fails or is interrupted does not wait long, and what was raised says more.
        with suppress(PublishError):
            self.close(min(CLOSE_AFTER_ERROR_SECONDS, self._timeout_seconds))

    def _start(self) -> None:
        """Start the thread that publishes, with the first record."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="topicserve-producer", daemon=True
                )
                self._thread.start()

    def _run(self) -> None:
        while entries := self._backlog.take(_MAX_STORED_TOGETHER):
            entries = self._claim(entries)
            try:
                if entries:
                    self._store_and_send(entries)
            except Exception as error:
                # Whatever it was, each record's future says so.
                self._finish(entries, [error] * len(entries))

    def _claim(self, entries: Sequence[Entry]) -> list[Entry]:
        """Return the entries that no one has cancelled; from here on no one can."""
        claimed: list[Entry] = []
        cancelled: list[Entry] = []
        for entry in entries:
            wanted = entry.future.set_running_or_notify_cancel()
            (claimed if wanted else cancelled).append(entry)
        self._backlog.done(cancelled)
        return claimed

    def _store_and_send(self, entries: Sequence[Entry]) -> None:
        metadata = {
            e.encoded.record_id: e.encoded.metadata
            for e in entries
            if e.encoded.metadata is not None
        }
        if metadata:
            self._store(metadata, entries[0].deadline)
        records = [e.encoded.outgoing for e in entries]
        self._producer.send(records, partial(self._finish, entries))

    def _store(self, metadata: Mapping[str, bytes], deadline: float) -> None:
        assert self._metadata_store is not None  # publish_many has refused metadata otherwise
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                return self._metadata_store.put_many(metadata)
            except BackendUnavailableError:
                if self._clock() + pause >= deadline or self._gave_up.wait(pause):
                    raise
            pause = min(pause * 2, _MAX_PAUSE_SECONDS)

    def _finish(self, entries: Sequence[Entry], errors: Sequence[Exception | None]) -> None:
        with self._lock:
            for entry, error in zip(entries, errors, strict=True):
                if error is not None:
                    self._failed_records += 1
                    if len(self._failures) < PublishError.MAX_FAILURES:
                        self._failures[entry.encoded.record_id] = error
        for entry, error in zip(entries, errors, strict=True):
            if error is None:
                entry.future.set_result(None)
            else:
                entry.future.set_exception(error)
        # Last: anyone who waits for an empty backlog may look at every future then.
        self._backlog.done(entries)

    def _raise_failures(self) -> None:
        with self._lock:
            failures, count = self._failures, self._failed_records
            self._failures, self._failed_records = {}, 0
        if count:
            raise PublishError(failures, count)


def _several(records: Any) -> Iterable[Any]:
    if isinstance(records, (Record, str, bytes, Mapping)) or not isinstance(records, Iterable):
        raise TypeError(
            f"publish_many takes a list of topicserve.Record, found {type(records).__name__}"
        )
    return records


def _checked(record: Any) -> Record:
    if isinstance(record, Record):
        return record
    raise TypeError(
        f"a topicserve.Record is published, found {type(record).__name__}; write "
        "Record(instance=..., metadata=...)"
    )
