"""Reports of records, in whatever order they come."""

from collections.abc import Sequence

from confluent_kafka import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from tests.support.stages.records import ManualClock
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


class Client:
    """A confluent_kafka.Producer that holds the callbacks of one pending send, as that does."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self.callbacks = dict(enumerate(callbacks))

    def report(self, index: int, error: KafkaError | BackendError | None = None) -> None:
        """Report a record, an error by calling back, and let its callback go."""
        if error is not None:
            self.callbacks[index](error, None)
        del self.callbacks[index]


class Books:
    """The books of a producer, and what it reported."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.in_flight = InFlight(1_000_000, 1 << 30, 30.0, self.clock)
        self.reports = DeliveryReports()
        self.told: list[Sequence[BackendError | None]] = []

    def send(self, count: int) -> Client:
        """Send that many records at once; return the client that has them."""
        records = [OutgoingRecord("topic", None, b"x")] * count
        self.reports.begin()
        client = Client(self.reports.open(self.in_flight.admit(records, self.told.append)))
        self.reports.end()
        return client

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
    client = books.send(3)

    client.report(2)
    books.turn()
    client.report(1, TOO_LARGE)
    books.turn()
    before = list(books.told)
    client.report(0)
    books.turn()

    assert before == []
    assert kinds(books.told[0]) == [type(None), RecordTooLargeError, type(None)]
    assert books.in_flight.wait_empty(0)


def test_our_own_errors_are_told_as_they_are() -> None:
    """What the client never took is reported by the caller that tried."""
    books = Books()
    error = BackendUnavailableError("the queue is full")

    books.send(1).report(0, error)
    books.turn()

    assert books.told == [[error]]


def test_what_is_not_known_to_be_written_when_the_time_is_up_timed_out() -> None:
    """Single records' success is not reported; a reason that is known is told."""
    books = Books()
    client = books.send(3)
    client.report(1)
    client.report(2, TOO_LARGE)

    books.clock.advance(31)
    books.turn()

    assert kinds(books.told[0]) == [DeliveryTimeoutError, DeliveryTimeoutError, RecordTooLargeError]
    client.report(0)
    books.turn()
    assert len(books.told) == 1


def test_all_but_known_failures_are_given_up_alike() -> None:
    """A producer that closes says of each record what it knows."""
    books = Books()
    client = books.send(2)
    client.report(1, TOO_LARGE)

    books.in_flight.give_up(BackendUnavailableError("closed"))

    assert kinds(books.told[0]) == [BackendUnavailableError, RecordTooLargeError]


def test_reports_are_awaited_for_long_only_when_nobody_sends() -> None:
    """A sender may be the last to let its receipt go, and wakes no one who waits for reports."""
    books = Books()
    idle = books.reports.collect()

    books.reports.begin()
    books.reports.begin()
    books.reports.end()
    sending = books.reports.collect()
    books.reports.end()

    assert sending < 0.01 < idle == books.reports.collect()


@given(st.data())
def test_every_record_is_told_what_was_reported_of_it(data: st.DataObject) -> None:
    """Whatever the sizes of the sends, the order of reports and when they are looked at."""
    books = Books()
    clients = [
        books.send(size) for size in data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=6))
    ]
    refused = {
        (number, index): data.draw(st.booleans())
        for number, client in enumerate(clients)
        for index in client.callbacks
    }
    for number, index in data.draw(st.permutations(list(refused))):
        clients[number].report(index, TOO_LARGE if refused[number, index] else None)
        if data.draw(st.booleans()):
            books.turn()
    books.turn()

    expected = [
        [
            RecordTooLargeError if refuse else type(None)
            for (owner, _), refuse in refused.items()
            if owner == number
        ]
        for number in range(len(clients))
    ]
    assert sorted(map(str, map(kinds, books.told))) == sorted(map(str, expected))
    assert books.in_flight.wait_empty(0)
