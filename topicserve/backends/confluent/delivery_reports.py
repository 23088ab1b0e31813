"""Delivery reports, of which only failures run a line of Python.

confluent-kafka takes the interpreter's lock again for each report, while other threads wait for it:
what runs meanwhile costs a worker more than its own time. So librdkafka is asked to report failures
alone ("delivery.report.only.error"). A record that was written is told by its callback being let
go: each holds on to the receipt of its list, and no one else does once the list is sent.

A producer with "topicserve.delivery.places" has every record reported, with its place.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from confluent_kafka import KafkaError

from topicserve.backends.confluent.errors import translate
from topicserve.backends.errors import BackendError
from topicserve.backends.in_flight import PendingSend, PlacedSend
from topicserve.wire.kafka_record import Place

Callback = Callable[[KafkaError | BackendError | None, Any], None]
"""Takes an error, or None, and the message, as `confluent_kafka.Producer.produce` is given it."""

Translate = Callable[[KafkaError | BackendError, Any], BackendError]
"""Returns the port's error for one of a record, given as to a callback."""


def translated_report(error: KafkaError | BackendError, _: Any) -> BackendError:
    """Return the port's error, whatever the record."""
    return translate(error) if isinstance(error, KafkaError) else error


# How long may be waited for reports, and how long while a list is being sent: its sender may be the
# last to let its receipt go, and that wakes no one.
_WAIT_SECONDS = 0.1
_WAIT_WHILE_SENDING_SECONDS = 0.001


class DeliveryReports:
    """The receipts of one producer.

    `open` is called between `begin` and `end`, by any thread; the rest is one thread's.
    """

    def __init__(self) -> None:
        self._complete: deque[PendingSend] = deque()
        self._lock = threading.Lock()
        self._senders = 0

    def begin(self) -> None:
        """Say that the calling thread is about to send a list."""
        with self._lock:
            self._senders += 1

    def open(
        self, pending_send: PendingSend, translate: Translate = translated_report
    ) -> Sequence[Callback]:
        """Return a callback for each record of a send, in order, to be called if it fails.

        The pending_send is complete when the last of them is let go.
        """
        fail = _Receipt(pending_send, self._complete, translate).fail
        return [partial(fail, index) for index in range(len(pending_send.errors))]

    def end(self) -> None:
        """Say that it is sent, and that the calling thread has let go of its callbacks."""
        with self._lock:
            self._senders -= 1

    def collect(self) -> float:
        """Settle what is complete; return for how many seconds the next reports may be awaited."""
        # Looked at first: what a sender completes after this, it completes while others wait.
        wait_seconds = _WAIT_WHILE_SENDING_SECONDS if self._senders else _WAIT_SECONDS
        while self._complete:
            self._complete.popleft().complete()
        return wait_seconds


class _Receipt:
    """Ends when nothing holds it any more; then all of its list was reported.

    This leans on CPython, which ends an object with its last reference, at once.
    """

    __slots__ = ("_complete", "_pending_send", "_translate")

    def __init__(
        self, pending_send: PendingSend, complete: deque[PendingSend], translate: Translate
    ) -> None:
        self._pending_send = pending_send
        self._complete = complete
        self._translate = translate

    def fail(self, index: int, error: KafkaError | BackendError | None, message: Any) -> None:
        """Note why a record was not written; where it was, if that is reported too."""
        if error is not None:
            self._pending_send.errors[index] = self._translate(error, message)
        elif isinstance(self._pending_send, PlacedSend):
            place = Place(message.topic(), message.partition(), message.offset())
            self._pending_send.place(index, place)

    def __del__(self) -> None:
        self._complete.append(self._pending_send)
