"""Delivery reports, taken in without a line of Python for all but one record of a list.

confluent-kafka takes the interpreter's lock anew for each report, while other threads wait for it:
what runs meanwhile costs a worker more than its own time.
"""

from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any

from confluent_kafka import KafkaError

from topicserve.backends.confluent.errors import translate
from topicserve.backends.errors import BackendError
from topicserve.backends.in_flight import Shipment

Callback = Callable[[Any, Any], None]
"""Takes an error, or None, and the message, as `confluent_kafka.Producer.produce` is given it."""

# A board of a thousand records takes some 200 KiB, and there are as many as lists in flight.
_KEPT_BOARDS = 32
_KEPT_RECORDS = 4096


class DeliveryReports:
    """The boards of one producer. `open` may be called by any thread, the rest by one."""

    def __init__(self) -> None:
        # Boards whose last record was reported; the others of their records most likely are, too.
        self._due: deque[Board] = deque()
        self._incomplete: list[Board] = []
        self._free: deque[Board] = deque()

    def open(self, shipment: Shipment) -> Sequence[Callback]:
        """Return a callback for each record of a shipment (at least one), in order."""
        try:
            board = self._free.pop()
        except IndexError:
            board = Board(self._due.append)
        return board.open(shipment)

    def collect(self) -> None:
        """Settle the shipments of which every record was reported."""
        boards, self._incomplete = self._incomplete, []
        while self._due:
            boards.append(self._due.popleft())
        for board in boards:
            shipment = board.shipment
            if not board.read():
                self._incomplete.append(board)
                continue
            if len(self._free) < _KEPT_BOARDS and board.size <= _KEPT_RECORDS:
                self._free.append(board)
            shipment.conclude()


class Board:
    """A queue for each record of one shipment, whose `put` is the record's callback.

    `SimpleQueue.put(item, block)` takes the error, or None, for its item; the message, which comes
    second, it does not look at. Queues outlive their shipment: new ones would cost what this saves.
    """

    __slots__ = ("_due", "_puts", "_queues", "_unread", "shipment")

    def __init__(self, due: Callable[["Board"], None]) -> None:
        self.shipment: Shipment
        self._due = due
        self._queues: list[SimpleQueue[KafkaError | BackendError | None]] = []
        self._puts: list[Callback] = []
        self._unread: Sequence[int] = ()

    @property
    def size(self) -> int:
        """Return how many queues it has."""
        return len(self._queues)

    def open(self, shipment: Shipment) -> Sequence[Callback]:
        """Take a shipment and return its records' callbacks."""
        count = len(shipment.errors)
        while len(self._queues) < count:
            queue: SimpleQueue[KafkaError | BackendError | None] = SimpleQueue()
            self._queues.append(queue)
            self._puts.append(queue.put)
        self.shipment = shipment
        self._unread = range(count)
        shipment.catch_up = self.read
        callbacks = self._puts[:count]
        callbacks[-1] = self._report_last
        return callbacks

    def read(self) -> bool:
        """Note what was reported since; True when that is all."""
        queues, errors, unread = self._queues, self.shipment.errors, []
        for index in self._unread:
            queue = queues[index]
            if queue.empty():
                unread.append(index)
                continue
            error = queue.get_nowait()
            errors[index] = translate(error) if isinstance(error, KafkaError) else error
        self._unread = unread
        return not unread

    def _report_last(self, error: KafkaError | BackendError | None, message: Any) -> None:
        self._puts[len(self.shipment.errors) - 1](error, message)
        self._due(self)
