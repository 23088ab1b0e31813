"""Lists that are produced while others are on their way, or a little later."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.stages.records import ManualClock
from topicserve.backends.confluent.held_sends import HOLD_SECONDS, MAX_HELD_RECORDS, HeldSends
from topicserve.backends.confluent.producer import ConfluentProducer
from topicserve.backends.errors import BackendError, BackendUnavailableError
from topicserve.backends.in_flight import InFlight, PendingSend
from topicserve.wire.kafka_record import OutgoingRecord

FEW = 4
CLOSED = BackendUnavailableError("closed")


class Books:
    """The books of a producer; a client that writes when a test says so; and what was reported."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.in_flight = InFlight(1_000_000, 1 << 30, 30.0, self.clock)
        self.held = HeldSends(self._produce, self.in_flight, self.clock)
        self.on_their_way: deque[PendingSend] = deque()
        self.produced: list[int] = []
        self.told: dict[int, Sequence[BackendError | None]] = {}
        self._added = 0

    def add(self, count: int) -> None:
        """Admit and add a list of that many records, all with the list's number."""
        number, self._added = self._added, self._added + 1
        records = [OutgoingRecord("topic", None, b"%d" % number)] * count
        self.held.add(records, self.in_flight.admit(records, self._teller(number)), FEW)

    def write(self) -> None:
        """Have the oldest list written, and do what the delivery thread does then."""
        if self.on_their_way:
            self.on_their_way.popleft().complete()
        self.turn()

    def turn(self) -> float | None:
        """Do what the delivery thread does between polls."""
        self.in_flight.report(0)
        return self.held.release()

    def _teller(self, number: int) -> Callable[[Sequence[BackendError | None]], None]:
        return lambda errors: self.told.update({number: errors})

    def _produce(self, records: Sequence[OutgoingRecord], pending_send: PendingSend) -> None:
        self.on_their_way.append(pending_send)
        self.produced.append(int(records[0].value or b""))


def test_lists_wait_while_more_than_a_few_records_are_on_their_way() -> None:
    """Few ones do not: librdkafka sends those behind them at once."""
    books = Books()

    for count in (FEW, 1, 1, 2):
        books.add(count)
    assert books.produced == [0, 1]
    books.write()
    assert books.produced == [0, 1, 2, 3]


@pytest.mark.parametrize("seconds", [HOLD_SECONDS / 2, HOLD_SECONDS])
def test_lists_wait_no_longer_than_they_may(seconds: float) -> None:
    """A broker that does not answer must not hold up the partitions of the others."""
    books = Books()
    for _ in range(2):
        books.add(FEW + 1)
    books.clock.advance(seconds)

    left = books.turn()

    if seconds < HOLD_SECONDS:
        assert left == pytest.approx(HOLD_SECONDS - seconds)
        assert books.produced == [0]
    else:
        assert left is None
        assert books.produced == [0, 1]


def test_no_more_is_held_than_it_may() -> None:
    """With what is too much all that waits is produced, in order."""
    books = Books()
    for count in (FEW + 1, MAX_HELD_RECORDS - 1, 1):
        books.add(count)
    assert books.produced == [0]

    books.add(1)
    assert books.produced == [0, 1, 2, 3]
    books.add(MAX_HELD_RECORDS + 1)
    assert books.produced == [0, 1, 2, 3, 4]


def test_a_list_does_not_wait_for_one_that_is_about_to_be_added() -> None:
    """Two threads are let in, and neither has anything on its way: nothing would wake them."""
    books = Books()
    books.in_flight.admit([OutgoingRecord("topic", None, b"")] * 9, lambda _: None)

    books.add(9)

    assert books.produced == [0]


def test_what_is_dropped_is_reported_and_its_room_given_back() -> None:
    """It is never produced, and what comes after it is."""
    books = Books()
    for _ in range(3):
        books.add(FEW + 1)

    books.held.drop(CLOSED)
    books.write()
    books.add(1)

    assert books.told == {0: [None] * 5, 1: [CLOSED] * 5, 2: [CLOSED] * 5}
    assert books.produced == [0, 3]
    assert books.in_flight.on_their_way == 1


@given(
    st.lists(
        st.integers(1, 3 * FEW)
        | st.just(MAX_HELD_RECORDS - FEW)
        | st.sampled_from(["write", "turn", "drop", "HOLD_SECONDS"])
    )
)
def test_lists_are_produced_once_and_in_their_order(steps: list[int | str]) -> None:
    """Or dropped and reported so, whatever happens when; in the end nothing is in flight."""
    books, added = Books(), 0
    for step in steps:
        if isinstance(step, int):
            books.add(step)
            added += 1
        elif step == "drop":
            books.held.drop(CLOSED)
        elif step == "HOLD_SECONDS":
            books.clock.advance(HOLD_SECONDS)
        else:
            (books.write if step == "write" else books.turn)()
    for _ in range(added + 1):
        books.write()

    assert books.produced == sorted(set(books.produced))
    dropped = [number for number, errors in books.told.items() if CLOSED in errors]
    assert sorted(books.produced + dropped) == list(range(added)) == sorted(books.told)
    assert books.in_flight.on_their_way == 0


class SlowClient:
    """A confluent_kafka.Producer whose broker, with one topic of a partition, never answers."""

    def __init__(self) -> None:
        self.produced: list[Any] = []
        self._is_over = threading.Event()

    def produce(self, *message: Any) -> None:
        self.produced.append(message)

    def list_topics(self, topic: str, _: float) -> Any:
        return SimpleNamespace(topics={topic: SimpleNamespace(error=None, partitions={0: None})})

    def poll(self, _: float) -> None:
        self._is_over.wait(60)

    def purge(self) -> None:
        self._is_over.set()

    def flush(self, _: float) -> None:
        pass


@pytest.mark.parametrize(("is_idempotent", "lists"), [(True, 1), (False, 2)])
def test_only_an_idempotent_client_is_given_lists_later(is_idempotent: bool, lists: int) -> None:
    """Another one sends each at once, whatever is on its way."""
    client = SlowClient()
    producer = ConfluentProducer(
        lambda _: client, InFlight(1000, 1 << 20, 60.0), is_idempotent=is_idempotent
    )
    for _ in range(2):
        producer.send([OutgoingRecord("topic", None, b"x")] * 9, lambda _: None)

    produced = len(client.produced)
    client.purge()
    producer.close(0)

    assert produced == 9 * lists
