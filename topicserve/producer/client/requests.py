"""Requests whose results are waited for, by record id."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import NamedTuple

from topicserve.producer.errors import DeadLetterError, PredictTimeoutError
from topicserve.wire import header_names as names
from topicserve.wire.dead_letter import REASON_HEADER, Reason, decode_dead_letter
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.kafka_record import KafkaRecord
from topicserve.wire.result import Result, decode_result


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

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: dict[bytes, _Pending] = {}

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
        _complete(pending.future, lambda: _result(record_id.decode(), record))

    def fail(self, record_id: str, future: Future[Result], error: BaseException) -> None:
        """Have one request raise this."""
        self.drop(record_id, future)
        _set_exception(future, error)

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
