"""Reports of records, in whatever order they come."""

from collections.abc import Sequence

from confluent_kafka import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from tests.support.records import ManualClock
from topicserve.backends.confluent.delivery_reports import Callback, DeliveryReports
from topicserve.backends.errors import (
    BackendError,
    BackendUnavailableError,
    DeliveryTimeoutError,
    RecordTooLargeError,
)
from topicserve.backends.in_flight import InFlight
from topicserve.wire.kafka_record import OutgoingRecord

TOO_LARGE = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)


class Books:
    """The books of a producer, and what it reported."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.in_flight = InFlight(1_000_000, 1 << 30, 30.0, self.clock)
        self.reports = DeliveryReports()
        self.told: list[Sequence[BackendError | None]] = []

    def send(self, count: int) -> Sequence[Callback]:
        """Open a shipment of that many records and return their callbacks."""
        records = [OutgoingRecord("topic", None, b"x")] * count
        return self.reports.open(self.in_flight.admit(records, self.told.append))

    def turn(self) -> None:
        """Do what the delivery thread does after each poll."""
        self.reports.collect()
        self.in_flight.report(0)


def kinds(errors: Sequence[BackendError | None]) -> list[type]:
    """Return the classes of what was told of each record."""
    return [type(error) for error in errors]


def test_a_shipment_is_told_once_all_of_it_was_reported() -> None:
    """The last record may be reported before others, and an error stays with its record."""
    books = Books()
    first, second, last = books.send(3)

    last(None, None)
    books.turn()
    second(TOO_LARGE, None)
    books.turn()
    before = list(books.told)
    first(None, None)
    books.turn()

    assert before == []
    assert kinds(books.told[0]) == [type(None), RecordTooLargeError, type(None)]
    assert books.in_flight.wait_empty(0)


def test_our_own_errors_are_told_as_they_are() -> None:
    """What the client never took is reported by whoever tried."""
    books = Books()
    error = BackendUnavailableError("the queue is full")
    (only,) = books.send(1)

    only(error, None)
    books.turn()

    assert books.told == [[error]]


def test_what_is_known_when_the_time_is_up_is_told() -> None:
    """Records that were written are not sent again for others that were not."""
    books = Books()
    first, second, third = books.send(3)
    second(None, None)
    third(TOO_LARGE, None)

    books.clock.advance(31)
    books.turn()

    assert kinds(books.told[0]) == [DeliveryTimeoutError, type(None), RecordTooLargeError]
    first(None, None)
    books.turn()
    assert len(books.told) == 1


def test_what_is_known_when_all_is_given_up_is_told() -> None:
    """A producer that closes says of each record what it knows."""
    books = Books()
    first, _ = books.send(2)
    first(None, None)

    books.in_flight.give_up(BackendUnavailableError("closed"))

    assert kinds(books.told[0]) == [type(None), BackendUnavailableError]


def test_a_late_report_reaches_its_own_shipment_alone() -> None:
    """A board that waits for the rest of a shipment that timed out is not used for another."""
    books = Books()
    first, last = books.send(2)
    last(None, None)
    books.turn()
    books.clock.advance(31)
    books.turn()

    only, other = books.send(2)
    first(TOO_LARGE, None)
    only(None, None)
    other(None, None)
    books.turn()

    assert kinds(books.told[0]) == [DeliveryTimeoutError, type(None)]
    assert books.told[1] == [None, None]


@given(st.data())
def test_every_record_is_told_what_was_reported_of_it(data: st.DataObject) -> None:
    """Whatever the sizes of the shipments, the order of reports and when they are looked at."""
    books = Books()
    for _ in range(3):  # boards are used again
        shipments = [
            [*enumerate(books.send(size))]
            for size in data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
        ]
        refused = {
            (number, index): data.draw(st.booleans())
            for number, callbacks in enumerate(shipments)
            for index, _ in callbacks
        }
        books.told.clear()
        order = data.draw(st.permutations(list(refused)))
        for number, index in order:
            shipments[number][index][1](TOO_LARGE if refused[number, index] else None, None)
            if data.draw(st.booleans()):
                books.turn()
        books.turn()

        expected = [
            [
                RecordTooLargeError if refused[number, index] else type(None)
                for index, _ in callbacks
            ]
            for number, callbacks in enumerate(shipments)
        ]
        assert sorted(map(str, map(kinds, books.told))) == sorted(map(str, expected))
        assert books.in_flight.wait_empty(0)
