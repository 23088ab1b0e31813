"""What a producer has sent and no one has acknowledged yet: bounds, time limits, reports.

Both adapters keep their books here, so that the port's promises do not depend on a client's own.
"""

import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from topicserve.backends.broker import OnDelivery, Places
from topicserve.backends.errors import (
    BackendError,
    BackendUnavailableError,
    BacklogFullError,
    DeliveryTimeoutError,
    TransactionAbortedError,
)
from topicserve.wire.kafka_record import OutgoingRecord, Place

log = logging.getLogger(__name__)

_HEADER_BYTES = 40

_TIMED_OUT = DeliveryTimeoutError("the broker did not acknowledge it within delivery.timeout.ms")


class Transaction:
    """The lists sent in one transaction; `failed` once a failed record of them is reported.

    Everything that is sent outside of transactions belongs to one that no one asks for.
    """

    __slots__ = ("failed",)

    def __init__(self) -> None:
        self.failed = False


class PendingSend:
    """One `send`: what became of each of its records, "timed out" until something else did.

    The client settles every record exactly once, from any thread; or it notes in `errors` why some
    were not written and concludes, on the delivery thread.
    """

    __slots__ = (
        "_lock",
        "_on_settled",
        "_unsettled",
        "deadline",
        "errors",
        "is_sent",
        "on_delivery",
        "size",
        "transaction",
    )

    def __init__(
        self,
        count: int,
        size_bytes: int,
        on_delivery: OnDelivery,
        deadline: float,
        on_settled: Callable[["PendingSend"], None],
        transaction: Transaction,
    ) -> None:
        self.errors: list[BackendError | None] = [_TIMED_OUT] * count
        self.size = size_bytes
        self.is_sent = False
        self.on_delivery: OnDelivery | None = on_delivery
        self.deadline = deadline
        self.transaction = transaction
        self._on_settled = on_settled
        self._unsettled = count
        self._lock = threading.Lock()

    def acknowledge(self, index: int, _: object = None) -> None:
        """Say of one record that it was written."""
        self.settle(index, None)

    def settle(self, index: int, error: BackendError | None) -> None:
        """Say of one record that it was written, or why it was not."""
        self.errors[index] = error
        with self._lock:
            self._unsettled -= 1
            is_last = not self._unsettled
        if is_last:
            self._on_settled(self)

    def complete(self) -> None:
        """Say of all the records of which nothing else is noted that they were written."""
        self.errors = [None if error is _TIMED_OUT else error for error in self.errors]
        self._on_settled(self)


class PlacedSend(PendingSend):
    """A `send` whose caller wants to know where its records were written."""

    __slots__ = ("_places",)

    def __init__(self, places: Places, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._places = places

    def acknowledge(self, index: int, found: Any = None) -> None:
        """Say of one record where it was written: `found` has topic, partition and offset."""
        self._places[index] = Place(found.topic, found.partition, found.offset)
        self.settle(index, None)

    def place(self, index: int, place: Place) -> None:
        """Note where a record was written that `complete` will settle."""
        self._places[index] = place


class InFlight:
    """Everything one producer has sent and no broker has acknowledged.

    Room is given back only when the client itself has let go of the records: one that keeps what
    has timed out is not given as much again on top.

    Any thread may call `admit` and the waits; `report` and `give_up` belong to the delivery thread.
    One condition guards the counts. It is never held while `on_delivery` runs, which may therefore
    send.
    """

    def __init__(
        self,
        max_records: int,
        max_bytes: int,
        delivery_timeout_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.delivery_timeout_seconds = delivery_timeout_seconds
        self._transaction = Transaction()
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._clock = clock
        # Guards the four below; told of whenever records are settled or reported.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._records = 0
        self._bytes = 0
        self._on_their_way = 0
        self._unreported: dict[PendingSend, None] = {}  # in order of their deadlines
        self._settled: queue.SimpleQueue[PendingSend | None] = queue.SimpleQueue()

    def admit(
        self,
        records: Sequence[OutgoingRecord],
        on_delivery: OnDelivery,
        timeout_seconds: float | None = None,
        places: Places | None = None,
    ) -> PendingSend:
        """Wait for room and take it.

        Raises BacklogFullError when the time given, or else the delivery timeout, is over.
        """
        patience = self.delivery_timeout_seconds if timeout_seconds is None else timeout_seconds
        size_bytes = _size_bytes(records)
        with self._lock:
            if not self._changed.wait_for(
                lambda: self._has_room(len(records), size_bytes), patience
            ):
                raise BacklogFullError(
                    f"{self._records} records ({self._bytes} bytes) were in flight for "
                    f"{patience:.1f} s: the broker is slower than its producers"
                )
            self._records += len(records)
            self._bytes += size_bytes
            deadline = self._clock() + self.delivery_timeout_seconds
            arguments = (
                *(len(records), size_bytes, on_delivery),
                *(deadline, self._settle, self._transaction),
            )
            pending_send = (
                PendingSend(*arguments) if places is None else PlacedSend(places, *arguments)
            )
            self._unreported[pending_send] = None
        if not records:
            self._settle(pending_send)
        return pending_send

    def note_sent(self, pending_send: PendingSend) -> None:
        """Count a list among those on their way, where a client keeps some for later."""
        with self._lock:
            pending_send.is_sent = True
            self._on_their_way += len(pending_send.errors)

    @property
    def on_their_way(self) -> int:
        """Return how many records `note_sent` has counted that are not settled."""
        return self._on_their_way

    def report(self, wait_seconds: float) -> bool:
        """Report what was settled meanwhile or has timed out; the delivery thread's loop body.

        Waits so long for something to be settled, and less where a deadline is nearer. Returns
        whether anything timed out.
        """
        try:
            pending_send = self._settled.get(timeout=self._patience(wait_seconds))
            while True:
                if pending_send is not None:
                    self._deliver(pending_send)
                pending_send = self._settled.get_nowait()
        except queue.Empty:
            pass
        expired = self._expired()
        for pending_send in expired:
            self._deliver(pending_send)
        return bool(expired)

    def wake(self) -> None:
        """Let `report` return at once."""
        self._settled.put(None)

    def wait_empty(self, timeout_seconds: float) -> bool:
        """Wait until everything is reported; False if the time ran out first."""
        with self._lock:
            return self._changed.wait_for(lambda: not self._unreported, timeout_seconds)

    def begin_transaction(self) -> None:
        """Count what is admitted from here on towards a new transaction."""
        self._transaction = Transaction()

    def wait_written(self, timeout_seconds: float) -> None:
        """Wait until every record of the transaction is reported, each one as written.

        Raises TransactionAbortedError if one was not, and BackendUnavailableError if some are not
        reported in time. Ask before offsets are sent or the transaction is committed: without
        this, it could commit before a failure is known.
        """
        transaction, reported = self._transaction, self.wait_reported(timeout_seconds)
        if transaction.failed:
            raise TransactionAbortedError("records of this transaction were not written")
        if not reported:
            raise BackendUnavailableError(
                f"records of this transaction were not acknowledged in {timeout_seconds:.1f} s"
            )

    def wait_reported(self, timeout_seconds: float) -> bool:
        """Wait until the fate of every record of the transaction is known; False if not in time."""
        transaction = self._transaction
        with self._lock:
            return self._changed.wait_for(lambda: self._is_reported(transaction), timeout_seconds)

    def _is_reported(self, transaction: Transaction) -> bool:
        return all(pending_send.transaction is not transaction for pending_send in self._unreported)

    def give_up(self, why: BackendError) -> None:
        """Report what is left as not written; on the delivery thread."""
        self.report(0)
        with self._lock:
            left = list(self._unreported)
        for pending_send in left:
            pending_send.errors[:] = [why if e is _TIMED_OUT else e for e in pending_send.errors]
            self._deliver(pending_send)

    def _has_room(self, records: int, size_bytes: int) -> bool:
        return self._records == 0 or (
            self._records + records <= self._max_records
            and self._bytes + size_bytes <= self._max_bytes
        )

    def _settle(self, pending_send: PendingSend) -> None:
        with self._lock:
            self._records -= len(pending_send.errors)
            self._bytes -= pending_send.size
            if pending_send.is_sent:
                self._on_their_way -= len(pending_send.errors)
            self._changed.notify_all()
        self._settled.put(pending_send)

    def _patience(self, wait_seconds: float) -> float:
        with self._lock:
            first = next(iter(self._unreported), None)
        if first is None:
            return wait_seconds
        return min(max(first.deadline - self._clock(), 0), wait_seconds)

    def _expired(self) -> list[PendingSend]:
        now = self._clock()
        with self._lock:
            # No earlier deadline comes after a later one.
            return list(itertools.takewhile(lambda s: s.deadline <= now, self._unreported))

    def _deliver(self, pending_send: PendingSend) -> None:
        on_delivery, pending_send.on_delivery = pending_send.on_delivery, None
        if on_delivery is None:
            return  # settled after it was reported as timed out
        try:
            on_delivery(list(pending_send.errors))
        except Exception:
            # Against the contract; the others' deliveries must be reported all the same.
            log.exception("on_delivery raised")
        with self._lock:
            # Only now: anyone who aborts for a failure must find that its cause was told.
            pending_send.transaction.failed |= any(pending_send.errors)
            del self._unreported[pending_send]
            self._changed.notify_all()


def _size_bytes(records: Sequence[OutgoingRecord]) -> int:
    """Return about how much memory records take, headers by their number: this runs for all."""
    return sum(
        [
            len(record.value or b"") + len(record.key or b"") + _HEADER_BYTES * len(record.headers)
            for record in records
        ]
    )
