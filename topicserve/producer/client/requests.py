"""Requests whose results are waited for, by record id."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress

from topicserve.producer.errors import DeadLetterError, PredictTimeoutError
from topicserve.wire import headers as names
from topicserve.wire.dead_letter import REASON_HEADER, Reason, decode_dead_letter
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.kafka_record import KafkaRecord
from topicserve.wire.result import Result, decode_result


class PendingRequests:
    """Finds the request that a result or a dead letter answers. Any thread may call it.

    Records that answer none of them are told by one header and never decoded: other clients share
    the topic. How many there may be is for the clients to bound.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._futures: dict[bytes, Future[Result]] = {}

    def __len__(self) -> int:
        return len(self._futures)

    def open(self, record_id: str) -> Future[Result]:
        """Return the future of a record's result. Raises InvalidRecordError for an id in use."""
        key = record_id.encode()
        with self._lock:
            if key in self._futures:
                raise InvalidRecordError(
                    "record_id", f"{record_id} is that of another request that waits for its result"
                )
            future = self._futures[key] = Future()
            return future

    def drop(self, record_id: str) -> None:
        """Wait for this one no longer."""
        with self._lock:
            self._futures.pop(record_id.encode(), None)

    def answer(self, record: KafkaRecord) -> None:
        """Complete the request that this record answers, if it is one of ours."""
        record_id = next((value for name, value in record.headers if name == names.ID), None)
        if record_id is None or record_id not in self._futures:
            return
        with self._lock:
            future = self._futures.pop(record_id, None)
        if future is not None:
            _complete(future, lambda: _result(record_id.decode(), record))

    def fail(self, record_id: str, error: BaseException) -> None:
        """Have one request raise this."""
        with self._lock:
            future = self._futures.pop(record_id.encode(), None)
        if future is not None:
            _set_exception(future, error)

    def fail_all(self, error: BaseException) -> None:
        """Have every request raise this."""
        with self._lock:
            futures, self._futures = self._futures, {}
        for future in futures.values():
            _set_exception(future, error)


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
