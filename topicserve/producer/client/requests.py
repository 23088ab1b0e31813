"""Requests whose results are waited for, by record id."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import NamedTuple

from topicserve.backends.references.body_reader import BodyRead, BodyReader, refers
from topicserve.backends.references.daemon_threads import DaemonThreads
from topicserve.producer.errors import DeadLetterError, PredictTimeoutError, ProducerClosedError
from topicserve.wire import header_names as names
from topicserve.wire.dead_letter import REASON_HEADER, Reason, decode_dead_letter
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.kafka_record import KafkaRecord
from topicserve.wire.result import Result, decode_result

FETCH_THREADS = 4


class _Pending(NamedTuple):
    call: bytes
    future: Future[Result]


class _Fetch(NamedTuple):
    read: BodyRead
    job: Future[None]


class PendingRequests:
    """Finds the request that a result or a dead letter answers. Any thread may call it.

    Records that answer none of them are told by one header and never decoded: other clients share
    the topic. A second header tells the calls that a record id had one after another: what comes
    late of one that timed out is not the next one's. How many requests there may be is for the
    clients to bound.
    """

    def __init__(self, bodies: BodyReader | None = None) -> None:
        """`bodies` reads the results that lie elsewhere; None: these are errors."""
        self._lock = threading.Lock()
        self._pending: dict[bytes, _Pending] = {}
        self._bodies = bodies
        self._fetches: dict[Future[Result], _Fetch] = {}
        self._threads = DaemonThreads(FETCH_THREADS, "topicserve-bodies")

    def __len__(self) -> int:
        return len(self._pending)

    def open(self, record_id: str, call: bytes) -> Future[Result]:
        """Return the future of a call's result. Raises InvalidRecordError for an id in use.

        `call` is what the record says in the header names.REQUEST.
        """
        key = record_id.encode()
        with self._lock:
            if key in self._pending:
                raise InvalidRecordError(
                    "record_id", f"{record_id} is that of another request that waits for its result"
                )
            future: Future[Result] = Future()
            self._pending[key] = _Pending(call, future)
            return future

    def drop(self, record_id: str, future: Future[Result]) -> None:
        """Wait for this one no longer; to be called at the end of each.

        A body that is still being read gives its place to another one.
        """
        key = record_id.encode()
        with self._lock:
            pending = self._pending.get(key)
            if pending is not None and pending.future is future:
                del self._pending[key]
            fetch = self._fetches.pop(future, None)
        if fetch is not None and not fetch.read.is_over:
            self._leave(fetch)

    def fetch_progress(self, future: Future[Result]) -> str | None:
        """Return how far the body of a result is read that has come; None where none has."""
        fetch = self._fetches.get(future)
        return None if fetch is None else fetch.read.progress

    def answer(self, record: KafkaRecord) -> None:
        """Complete the request that this record answers, if it is one of ours."""
        record_id = next((value for name, value in record.headers if name == names.ID), None)
        if record_id is None or record_id not in self._pending:
            return
        # Workers of before this header, and dead letters that are too large for it, have the id
        # alone.
        calls = {value for name, value in record.headers if name == names.REQUEST}
        with self._lock:
            pending = self._pending.get(record_id)
            if pending is None or (calls and pending.call not in calls):
                return
            del self._pending[record_id]
            if self._bodies is not None and refers(record):
                self._fetch(pending.future, record_id.decode(), record, self._bodies)
                return
        _complete(pending.future, lambda: _result(record_id.decode(), record))

    def fail(self, record_id: str, future: Future[Result], error: BaseException) -> None:
        """Have one request raise this."""
        self.drop(record_id, future)
        _set_exception(future, error)

    def close(self, error: BaseException) -> None:
        """Have every request raise this, those whose bodies are being read included."""
        self.fail_all(error)
        with self._lock:
            fetches, self._fetches = self._fetches, {}
        for future, fetch in fetches.items():
            _set_exception(future, error)
            self._leave(fetch)
        self._threads.close()

    def _fetch(
        self, future: Future[Result], record_id: str, record: KafkaRecord, bodies: BodyReader
    ) -> None:
        """Read a result's body aside: the thread of results goes on. Expects the lock."""
        read = BodyRead()

        def complete() -> None:
            _complete(future, lambda: _result(record_id, bodies.follow(record, read)))

        try:
            job = self._threads.submit(complete)
        except RuntimeError:  # closed meanwhile
            _set_exception(future, ProducerClosedError("the client is closed"))
        else:
            self._fetches[future] = _Fetch(read, job)

    def _leave(self, fetch: _Fetch) -> None:
        fetch.read.abandon()
        self._threads.leave(fetch.job)

    def fail_all(self, error: BaseException) -> None:
        """Have every request raise this."""
        with self._lock:
            failed, self._pending = self._pending, {}
        for pending in failed.values():
            _set_exception(pending.future, error)


def _complete(future: Future[Result], read: Callable[[], Result]) -> None:
    try:
        result = read()
    except Exception as error:
        _set_exception(future, error)
        return
    with suppress(InvalidStateError):  # its caller has cancelled it meanwhile
        future.set_result(result)


def _set_exception(future: Future[Result], error: BaseException) -> None:
    with suppress(InvalidStateError):
        future.set_exception(error)


def _result(record_id: str, record: KafkaRecord) -> Result:
    """Return a result; raises DeadLetterError for a dead letter, InvalidRecordError for neither."""
    if not any(name == REASON_HEADER for name, _ in record.headers):
        return decode_result(record)
    letter = decode_dead_letter(record)
    if letter.reason is Reason.DEADLINE_EXCEEDED:
        raise PredictTimeoutError(f"record {record_id}: {letter.message}")
    raise DeadLetterError(record_id, letter)
