"""Requests whose results are waited for, by record id."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple

from topicserve.backends.references.body_reader import BodyReader, refers
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
        self._fetching: set[Future[Result]] = set()
        self._threads: ThreadPoolExecutor | None = None

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
        """Wait for this one no longer."""
        key = record_id.encode()
        with self._lock:
            pending = self._pending.get(key)
            if pending is not None and pending.future is future:
                del self._pending[key]

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
        if self._bodies is None or not refers(record):
            _complete(pending.future, lambda: _result(record_id.decode(), record))
        else:
            self._fetch(pending.future, record_id.decode(), record, self._bodies)

    def fail(self, record_id: str, future: Future[Result], error: BaseException) -> None:
        """Have one request raise this."""
        self.drop(record_id, future)
        _set_exception(future, error)

    def close(self, error: BaseException) -> None:
        """Have every request raise this, those whose bodies are being read included."""
        self.fail_all(error)
        with self._lock:
            fetching, threads = list(self._fetching), self._threads
        for future in fetching:
            _set_exception(future, error)
        if threads is not None:
            threads.shutdown(wait=False, cancel_futures=True)

    def _fetch(
        self, future: Future[Result], record_id: str, record: KafkaRecord, bodies: BodyReader
    ) -> None:
        """Read a result's body aside: the thread of results goes on."""
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(FETCH_THREADS, "topicserve-bodies")
            self._fetching.add(future)
        future.add_done_callback(self._forget)

        def complete() -> None:
            if not future.done():  # its caller may have gone
                _complete(future, lambda: _result(record_id, bodies.follow(record)))

        try:
            self._threads.submit(complete)
        except RuntimeError:  # closed meanwhile
            _set_exception(future, ProducerClosedError("the client is closed"))

    def _forget(self, future: Future[Result]) -> None:
        with self._lock:
            self._fetching.discard(future)

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
