"""What both record producers stand on: a thread that stores metadata and then sends records.

RecordProducer, its asyncio twin and both predict clients differ in how they wait; what is
published, in which order and with which errors is here, once.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from topicserve.backends.broker import Places, Producer
from topicserve.backends.errors import (
    BackendError,
    BackendUnavailableError,
    RecordRefusedError,
    UnknownTopicError,
)
from topicserve.backends.metadata_store import MetadataStore
from topicserve.producer.encoder import EncodedRecord
from topicserve.producer.errors import PublishError
from topicserve.producer.in_progress.backlog import Backlog, Entry
from topicserve.producer.in_progress.storing import MetadataStoring
from topicserve.producer.publish_future import PublishFuture
from topicserve.producer.spans import PublishSpans
from topicserve.tracing import open_tracer
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.kafka_record import Place

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

# What gathers while the store answers goes together: one round trip each, however many wait.
_MAX_STORED_TOGETHER = 1000
_MARGIN_SECONDS = 30.0
# After these a record that was sent is not in its topic; after any other it may be.
_NOT_WRITTEN = (RecordRefusedError, UnknownTopicError)

Failure = tuple[Entry, Exception]


class Publisher:
    """Publishes encoded records in the order in which they are put; any thread may put them.

    Owns the Kafka producer and the store, and closes them. What is certainly not in its topic has
    its metadata removed, where the store answers, before its future tells why.
    """

    def __init__(
        self,
        producer: Producer,
        metadata_store: MetadataStore | None,
        backlog: Backlog,
        timeout_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        tracer_provider: "TracerProvider | None" = None,
    ) -> None:
        """Start no thread: the first record does.

        Records are traced by the provider given, or by the one that the program has configured.
        """
        tracer = open_tracer(tracer_provider)
        self._spans = None if tracer is None else PublishSpans(tracer)
        self._producer = producer
        self._metadata_store = metadata_store
        self._backlog = backlog
        self.timeout_seconds = timeout_seconds
        # Storing its metadata and its way to the broker each have that long.
        self._future_seconds = 2 * timeout_seconds + _MARGIN_SECONDS
        self._clock = clock
        self._storing = MetadataStoring(metadata_store, clock)
        self._lock = threading.Lock()  # guards what follows
        self._thread: threading.Thread | None = None
        self._failures: dict[str, Exception] = {}
        self._failed_records = 0
        self._closed = False

    def check(self, encoded: EncodedRecord) -> EncodedRecord:
        """Return the record; raises InvalidRecordError for metadata that no store would keep."""
        if self._metadata_store is None and encoded.metadata is not None:
            raise InvalidRecordError("metadata", "is given, but this producer has no store for it")
        return encoded

    def entry(self, encoded: EncodedRecord) -> Entry:
        """Return a record with its future, to be `put`."""
        future = PublishFuture(encoded.record_id, self._future_seconds)
        if self._spans is not None:
            encoded = self._spans.begin(encoded, future)
        return Entry(encoded, future, self._clock() + self.timeout_seconds)

    def put(self, entry: Entry, wait_seconds: float | None = None) -> PublishFuture:
        """Take a record, waiting for room. Raises BacklogFullError when none comes in time."""
        self._start()
        self._backlog.put(entry, self.timeout_seconds if wait_seconds is None else wait_seconds)
        return entry.future

    def flush(self, timeout_seconds: float | None = None) -> None:
        """See RecordProducer."""
        limit = self.timeout_seconds if timeout_seconds is None else timeout_seconds
        left = self._backlog.wait_until_empty(limit)
        self._raise_failures()
        if left:
            raise BackendUnavailableError(f"{left} record(s) are still in progress after {limit} s")

    def waiting_for(self) -> str:
        """See RecordProducer."""
        if self._storing.problem:
            return self._storing.problem
        records = self._backlog.records
        return f"{records:,} record(s) are not acknowledged yet" if records else ""

    @property
    def store_problem(self) -> str:
        """Return why records wait for the metadata store; empty while none does."""
        return self._storing.problem

    def close(self, timeout_seconds: float | None = None, *, wait_for_store: bool = True) -> None:
        """See RecordProducer. A store that is away need not be waited for."""
        with self._lock:
            closed, self._closed = self._closed, True
        if closed:
            return
        limit = self.timeout_seconds if timeout_seconds is None else timeout_seconds
        deadline = self._clock() + limit
        self._backlog.close()
        if not wait_for_store:
            self._storing.give_up()
        self._backlog.wait_until_empty(limit)
        # From here on no one waits any more: neither the thread for the store, nor we for it.
        self._storing.give_up()
        error = BackendUnavailableError("closed before it was sent")
        left = [(entry, error) for entry in self._claim(self._backlog.withdraw())]
        self._note(left)
        self._complete(left)
        self._producer.close(max(0.0, deadline - self._clock()))
        if self._metadata_store is not None:
            self._metadata_store.close()
        self._raise_failures()

    def _start(self) -> None:
        """Start the thread that publishes, with the first record."""
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="topicserve-producer", daemon=True
                )
                self._thread.start()

    def _run(self) -> None:
        while True:
            entries, failures = self._backlog.take(_MAX_STORED_TOGETHER)
            if failures:
                self._storing.remove(_metadata_of([entry for entry, _ in failures]))
                self._complete(failures)
            if claimed := self._claim(entries):
                self._store_and_send(claimed)
            if not entries and not failures:
                return

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
        is_stored = False
        try:
            self._storing.store(_metadata_of(entries), entries[0].deadline)
            is_stored = True
            self._send(entries)
        except Exception as error:
            # Whatever it was, each record's future says so; of a list that was refused nothing was
            # sent. A store that did not answer in time may have taken it all the same.
            failures = [(entry, error) for entry in entries]
            is_known = isinstance(error, BackendError)
            may_be_stored = is_stored or isinstance(error, BackendUnavailableError)
            self._note(failures)
            if is_known and may_be_stored:
                self._storing.remove(_metadata_of(entries))
            self._complete(failures)

    def _send(self, entries: Sequence[Entry]) -> None:
        places: Places = [None] * len(entries)
        records = [entry.encoded.outgoing for entry in entries]
        self._producer.send(records, partial(self._delivered, entries, places), places=places)

    def _delivered(
        self, entries: Sequence[Entry], places: Places, errors: Sequence[BackendError | None]
    ) -> None:
        """Complete what was written, on the client's delivery thread, which waits for no store."""
        failures: list[Failure] = []
        written: list[Entry] = []
        for entry, place, error in zip(entries, places, errors, strict=True):
            if error is not None:
                failures.append((entry, error))
            else:
                entry.future.set_result(place or Place(entry.encoded.outgoing.topic, -1, -1))
                written.append(entry)
        self._backlog.done(written)
        self._note(failures)
        removable = [failure for failure in failures if _has_left_metadata(failure)]
        if removable and self._backlog.hand_back(removable):
            failures = [failure for failure in failures if not _has_left_metadata(failure)]
        self._complete(failures)

    def _note(self, failures: Sequence[Failure]) -> None:
        """Keep failures for the next flush."""
        with self._lock:
            self._failed_records += len(failures)
            for entry, error in failures:
                if len(self._failures) < PublishError.MAX_FAILURES:
                    self._failures[entry.encoded.record_id] = error

    def _complete(self, failures: Sequence[Failure]) -> None:
        for entry, error in failures:
            entry.future.set_exception(error)
        # Last: anyone who waits for an empty backlog may look at every future then.
        self._backlog.done([entry for entry, _ in failures])

    def _raise_failures(self) -> None:
        with self._lock:
            failures, count = self._failures, self._failed_records
            self._failures, self._failed_records = {}, 0
        if count:
            raise PublishError(failures, count)


def _has_left_metadata(failure: Failure) -> bool:
    """Return whether a record that was stored is certainly not in its topic."""
    entry, error = failure
    return isinstance(error, _NOT_WRITTEN) and entry.encoded.metadata is not None


def _metadata_of(entries: Sequence[Entry]) -> Mapping[str, bytes]:
    return {
        entry.encoded.record_id: entry.encoded.metadata
        for entry in entries
        if entry.encoded.metadata is not None
    }
