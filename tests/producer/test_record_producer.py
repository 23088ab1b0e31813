import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.support.kafka.kafka_doubles import MemoryLog, MemoryProducer
from tests.support.stages.fakes import HeldProducer, MemoryMetadataStore
from tests.support.stages.records import ManualClock, an_id
from topicserve.backends.errors import (
    AuthenticationError,
    BackendConfigError,
    BackendError,
    BackendUnavailableError,
    BacklogFullError,
    DeliveryTimeoutError,
    RecordTooLargeError,
    UnknownTopicError,
)
from topicserve.backends.metadata_store import MetadataStore
from topicserve.producer.errors import PublishError
from topicserve.producer.record import Record
from topicserve.producer.record_producer import RecordProducer
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.kafka_record import OutgoingRecord

LIMIT_SECONDS = 10.0


class Setup:
    """A producer on a log in memory."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.kafka = MemoryProducer(self.log)
        self.store = MemoryMetadataStore()
        self.clock = ManualClock()

    def producer(self, **options: Any) -> RecordProducer:
        return RecordProducer(self.kafka, self.store, "digits", clock=self.clock, **options)


@pytest.fixture
def setup() -> Setup:
    """Return connections of a test's own."""
    return Setup()


def numbered(count: int) -> list[Record]:
    """Return records whose ids and metadata say their number."""
    return [Record(instance=n, record_id=an_id(n), metadata={"n": n}) for n in range(count)]


def refusing(number: int, error: BackendError) -> Callable[[OutgoingRecord], BackendError | None]:
    """Return what fails one record's delivery."""
    return lambda sent: error if dict(sent.headers)["ce_id"] == an_id(number).encode() else None


def test_metadata_is_stored_before_the_record_is_sent(setup: Setup) -> None:
    """No worker can meet a record whose metadata is still on its way."""
    stored_when_sent = []
    setup.kafka.refuse_send = lambda: stored_when_sent.append(dict(setup.store.content))

    with setup.producer() as producer:
        producer.publish(Record(instance=1, record_id=an_id(1), metadata={"row": 7})).result()

    assert stored_when_sent == [{an_id(1): b'{"row":7}'}]
    assert setup.log.ids() == [an_id(1)]


def test_records_are_sent_in_the_order_published(setup: Setup) -> None:
    """Order is the caller's, also when many go together."""
    with setup.producer() as producer:
        futures = producer.publish_many(numbered(2500))

    assert setup.log.ids() == [an_id(n) for n in range(2500)]
    assert [future.record_id for future in futures] == setup.log.ids()
    assert all(future.done() for future in futures)


def test_metadata_of_waiting_records_is_stored_together(setup: Setup) -> None:
    """While the store answers, records gather; they do not each cost a round trip."""
    first_put, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        first_put.set()
        assert go_on.wait(LIMIT_SECONDS)

    setup.store.fail = slow
    with setup.producer() as producer:
        producer.publish(numbered(1)[0])
        assert first_put.wait(LIMIT_SECONDS)
        producer.publish_many(numbered(900))
        go_on.set()

    assert [len(put) for put in setup.store.puts] == [1, 900]


def test_a_failure_is_told_by_the_future_and_by_flush(setup: Setup) -> None:
    """Which record failed and why; the others are there."""
    error = RecordTooLargeError("larger than 1 MiB")
    setup.kafka.fail_send = refusing(1, error)

    with setup.producer() as producer:
        futures = producer.publish_many(numbered(3))
        with pytest.raises(PublishError) as caught:
            producer.flush()
        producer.flush()  # told once

    assert caught.value.failures == {an_id(1): error}
    assert caught.value.failed_records == 1
    assert [future.exception() for future in futures] == [None, error, None]
    assert setup.log.ids() == [an_id(0), an_id(2)]


def test_a_future_says_where_its_record_is(setup: Setup) -> None:
    """Topic, partition and offset, as the broker acknowledged them."""
    with setup.producer() as producer:
        futures = producer.publish_many(numbered(3))

    assert [future.result() for future in futures] == [("digits", 0, n) for n in range(3)]


def test_metadata_of_a_refused_record_is_removed_before_it_is_told(setup: Setup) -> None:
    """Nothing in the store waits for a record that no worker will ever read."""
    setup.kafka.fail_send = refusing(1, RecordTooLargeError("larger than 1 MiB"))
    stored: list[set[str]] = []
    producer = setup.producer()

    futures = producer.publish_many(numbered(3))
    futures[1].add_done_callback(lambda _: stored.append(set(setup.store.content)))
    with pytest.raises(PublishError):
        producer.close()

    assert stored == [{an_id(0), an_id(2)}]


def test_metadata_of_a_list_that_was_not_sent_is_removed(setup: Setup) -> None:
    """Such as one for a topic that does not exist."""
    setup.kafka.refuse_send = lambda: UnknownTopicError("no such topic")
    producer = setup.producer()

    future = producer.publish(numbered(1)[0])

    assert isinstance(future.exception(LIMIT_SECONDS), UnknownTopicError)
    assert setup.store.content == {}


@pytest.mark.parametrize("error", [DeliveryTimeoutError("late"), BackendUnavailableError("away")])
def test_metadata_of_a_record_that_may_be_written_is_kept(
    setup: Setup, error: BackendError
) -> None:
    """A worker that reads the record after all finds it."""
    setup.kafka.fail_send = refusing(0, error)
    producer = setup.producer()

    future = producer.publish(numbered(1)[0])

    assert future.exception(LIMIT_SECONDS) is error
    assert set(setup.store.content) == {an_id(0)}


def test_a_store_that_is_away_hides_no_reason(setup: Setup) -> None:
    """The record's own error is told, and its metadata left to the store's TTL."""
    error = RecordTooLargeError("larger than 1 MiB")
    setup.kafka.fail_send = refusing(0, error)
    answers: list[BackendError | None] = [None, BackendUnavailableError("away")]
    setup.store.fail = lambda: answers.pop(0)
    producer = setup.producer()

    future = producer.publish(numbered(1)[0])

    assert future.exception(LIMIT_SECONDS) is error
    assert answers == []


def test_leaving_the_context_tells_of_failures(setup: Setup) -> None:
    """Nothing is lost silently by a caller who asks no future."""
    setup.kafka.fail_send = refusing(0, RecordTooLargeError("larger than 1 MiB"))

    with pytest.raises(PublishError, match="1 record"), setup.producer() as producer:
        producer.publish_many(numbered(1))


def test_an_error_inside_the_context_is_the_one_that_comes_out(setup: Setup) -> None:
    """A failed record does not hide what the caller's own code raised."""
    setup.kafka.fail_send = refusing(0, RecordTooLargeError("larger than 1 MiB"))

    def publish_and_fail() -> None:
        with setup.producer() as producer:
            producer.publish_many(numbered(1))
            raise KeyError

    with pytest.raises(KeyError):
        publish_and_fail()


def test_failures_kept_are_bounded(setup: Setup) -> None:
    """A broker that refuses everything does not fill the memory with reasons."""
    setup.kafka.fail_send = lambda _: RecordTooLargeError("no")

    producer = setup.producer()
    producer.publish_many(numbered(PublishError.MAX_FAILURES + 5))
    with pytest.raises(PublishError) as caught:
        producer.close()

    assert len(caught.value.failures) == PublishError.MAX_FAILURES
    assert caught.value.failed_records == PublishError.MAX_FAILURES + 5


def test_a_store_that_is_away_is_tried_again(setup: Setup) -> None:
    """A passing fault of the store costs nothing but time."""
    answers: list[BackendError | None] = [BackendUnavailableError("away"), None]
    setup.store.fail = lambda: answers.pop(0)

    with setup.producer() as producer:
        producer.publish(numbered(1)[0])

    assert setup.log.ids() == [an_id(0)]


def test_what_is_waited_for_is_told(setup: Setup) -> None:
    """The store, with its error, and the broker's acknowledgements; nothing at the end."""
    told: list[str] = []
    answers: list[BackendError | None] = [BackendUnavailableError("Redis is away"), None]
    producer = setup.producer()

    def answer() -> BackendError | None:
        told.append(producer.waiting_for())
        return answers.pop(0)

    setup.store.fail = answer
    setup.kafka.refuse_send = lambda: told.append(producer.waiting_for())
    with producer:
        producer.publish(numbered(1)[0]).result(LIMIT_SECONDS)
        producer.flush()
        told.append(producer.waiting_for())

    assert told == [
        "the metadata store has not answered yet",
        "Redis is away",
        "1 record(s) are not acknowledged yet",
        "",
    ]


def test_a_store_that_stays_away_fails_the_record_in_time(setup: Setup) -> None:
    """The record is not sent without its metadata, and not waited for beyond its time."""

    def away() -> BackendError:
        setup.clock.advance(60)
        return BackendUnavailableError("Redis is not available")

    setup.store.fail = away
    producer = setup.producer(timeout_seconds=120)
    future = producer.publish(numbered(1)[0])

    with pytest.raises(BackendUnavailableError, match="Redis"):
        future.result(LIMIT_SECONDS)
    assert setup.log.ids() == []


def test_a_store_that_refuses_us_is_not_tried_again(setup: Setup) -> None:
    """Wrong credentials fail every time."""
    calls = []

    def refuse() -> BackendError:
        calls.append(1)
        return AuthenticationError("refused")

    setup.store.fail = refuse
    future = setup.producer().publish(numbered(1)[0])

    with pytest.raises(AuthenticationError):
        future.result(LIMIT_SECONDS)
    assert len(calls) == 1


def test_whatever_goes_wrong_the_future_says_so(setup: Setup) -> None:
    """An error that no one foresaw fails its records, and the next ones go on."""
    answers: list[BackendError | None] = [ValueError("a bug"), None]  # type: ignore[list-item]

    def refuse_send() -> BackendError | None:
        return answers.pop(0)

    setup.kafka.refuse_send = refuse_send
    producer = setup.producer()

    with pytest.raises(ValueError, match="a bug"):
        producer.publish(numbered(1)[0]).result(LIMIT_SECONDS)
    producer.publish(numbered(2)[1]).result(LIMIT_SECONDS)

    assert setup.log.ids() == [an_id(1)]


def test_an_invalid_record_among_many_keeps_all_from_being_published(setup: Setup) -> None:
    """A list is checked whole before its first record goes."""
    with setup.producer() as producer, pytest.raises(InvalidRecordError):
        producer.publish_many([*numbered(2), Record(instances=[])])

    assert setup.log.ids() == []


def test_metadata_without_a_store_is_refused(setup: Setup) -> None:
    """It would otherwise be lost."""
    store: MetadataStore | None = None
    with RecordProducer(setup.kafka, store, "digits") as producer:
        with pytest.raises(InvalidRecordError, match="metadata"):
            producer.publish(numbered(1)[0])
        producer.publish(Record(instance=1))

    assert len(setup.log.ids()) == 1


def test_publishing_waits_while_too_many_records_are_under_way(setup: Setup) -> None:
    """The bound holds the caller back, and says what is wrong when nothing moves."""
    setup.kafka = held = HeldProducer(setup.log)
    producer = setup.producer(max_in_flight_records=2, timeout_seconds=0)

    producer.publish_many(numbered(2))
    with pytest.raises(BacklogFullError, match="2 records"):
        producer.publish(numbered(3)[2])

    assert held.sent.wait(LIMIT_SECONDS)
    producer.close(0)


def test_bytes_under_way_are_bounded_too(setup: Setup) -> None:
    """Records larger than the bound go one at a time."""
    setup.kafka = held = HeldProducer(setup.log)
    producer = setup.producer(max_in_flight_bytes=100, timeout_seconds=0)

    producer.publish(Record(instance="x" * 200))
    with pytest.raises(BacklogFullError):
        producer.publish(Record(instance=1))

    assert held.sent.wait(LIMIT_SECONDS)
    producer.close(0)


def test_a_flush_that_takes_too_long_says_what_is_under_way(setup: Setup) -> None:
    """The time given is the time waited."""
    setup.kafka = held = HeldProducer(setup.log)
    producer = setup.producer()
    producer.publish(numbered(1)[0])
    assert held.sent.wait(LIMIT_SECONDS)

    with pytest.raises(BackendUnavailableError, match="1 record"):
        producer.flush(0)

    held.release()
    producer.flush(LIMIT_SECONDS)


def test_closing_fails_what_could_not_be_sent(setup: Setup) -> None:
    """A store that is away does not keep a program from ending; the records say so."""
    tried = threading.Event()

    def away() -> BackendError:
        tried.set()
        return BackendUnavailableError("away")

    setup.store.fail = away
    producer = setup.producer()
    under_way = producer.publish(numbered(1)[0])
    assert tried.wait(LIMIT_SECONDS)
    waiting = producer.publish(numbered(2)[1])

    with pytest.raises(PublishError):
        producer.close(0)

    assert isinstance(under_way.exception(LIMIT_SECONDS), BackendUnavailableError)
    assert isinstance(waiting.exception(LIMIT_SECONDS), BackendUnavailableError)


def test_a_cancelled_record_is_not_sent(setup: Setup) -> None:
    """Until it is on its way a record can be taken back."""
    storing, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        storing.set()
        assert go_on.wait(LIMIT_SECONDS)

    setup.store.fail = slow
    with setup.producer() as producer:
        first, second = producer.publish(numbered(1)[0]), None
        assert storing.wait(LIMIT_SECONDS)
        second = producer.publish(numbered(2)[1])
        assert second.cancel()
        assert not first.cancel()
        go_on.set()

    assert setup.log.ids() == [an_id(0)]


def test_closing_closes_the_connections_once(setup: Setup) -> None:
    """Closing again does nothing, and publishing afterwards is a mistake that is told."""
    producer = setup.producer()

    producer.close()
    producer.close()

    assert setup.kafka.closed
    assert setup.store.closed
    with pytest.raises(RuntimeError, match="closed"):
        producer.publish(Record(instance=1))


def test_a_wrong_setting_is_named() -> None:
    """Connecting touches no server; what can be checked is checked."""
    with pytest.raises(BackendConfigError, match="redis_url"):
        RecordProducer.connect("127.0.0.1:1", "no-such-scheme://", "digits")


@pytest.mark.parametrize("wrong", [{"instance": 1}, [1.0], "text", None, 5])
def test_anything_but_a_record_is_refused_with_the_remedy(setup: Setup, wrong: Any) -> None:
    """A person learns what to write in its place, and nothing is sent."""
    with setup.producer() as producer:
        with pytest.raises(TypeError, match=r"Record\(instance=\.\.\., metadata=\.\.\.\)"):
            producer.publish(wrong)
        with pytest.raises(TypeError, match=r"Record\(instance=|publish_many takes a list"):
            producer.publish_many(wrong if isinstance(wrong, list) else [wrong])

    assert setup.log.ids() == []


@pytest.mark.parametrize("wrong", [Record(instance=1), {"instance": 1}, "text", None])
def test_many_records_come_as_a_list(setup: Setup, wrong: Any) -> None:
    """Or any iterable of them."""
    with setup.producer() as producer:
        with pytest.raises(
            TypeError, match=r"publish_many takes a list of topicserve.Record, found"
        ):
            producer.publish_many(wrong)
        producer.publish_many(record for record in numbered(2))

    assert len(setup.log.ids()) == 2


def test_rows_of_a_table_are_published_in_order(setup: Setup) -> None:
    """Without a loop in the caller's code; each with its metadata and its future."""
    rows = {"x": np.arange(2500.0), "user": np.arange(2500)}

    with setup.producer() as producer:
        futures = producer.publish_rows(
            rows, metadata=["user"], record_ids=[an_id(n) for n in range(2500)], servable="digits"
        )

    assert setup.log.ids() == [an_id(n) for n in range(2500)]
    assert [future.result().offset for future in futures] == list(range(2500))
    assert setup.store.content[an_id(7)] == b'{"user":7}'
    assert setup.log.published[7].value == b'{"instance":{"x":7.0}}'
    assert dict(setup.log.published[7].headers)["ce_servable"] == b"digits"


def test_an_invalid_row_is_named_and_none_of_its_thousand_is_published(setup: Setup) -> None:
    """What comes before is."""
    rows = {"x": [*range(1500), None]}

    with (
        setup.producer() as producer,
        pytest.raises(InvalidRecordError, match=r"^rows\[1500\].instance.x: is None"),
    ):
        producer.publish_rows(rows)

    assert len(setup.log.ids()) == 1000
