import itertools
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.kafka.kafka_doubles import MemoryLog
from tests.support.stages.fakes import ReadConsumer
from tests.support.stages.records import ManualClock
from topicserve.backends.errors import BackendUnavailableError, UnknownTopicError
from topicserve.producer.topic_reader import TopicReader
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.kafka_record import KafkaRecord, TopicPartition, UnreadableHeaders

P0, P1 = TopicPartition("results", 0), TopicPartition("results", 1)


def records(partition: TopicPartition, values: str) -> list[KafkaRecord]:
    """Return one record a letter."""
    return [
        KafkaRecord(*partition, offset, 0, None, letter.encode(), [])
        for offset, letter in enumerate(values)
    ]


def decode(record: KafkaRecord) -> str | None:
    """Return the letter; a dot is not wanted, a question mark not readable."""
    assert record.value is not None
    if record.value == b"?":
        raise InvalidRecordError("value", "is a question")
    return None if record.value == b"." else record.value.decode()


def a_reader(
    values: str = "", *, clock: Callable[[], float] | None = None, **options: Any
) -> tuple[TopicReader[str], ReadConsumer]:
    """Return a reader of partition 0 and its consumer."""
    consumer = ReadConsumer(MemoryLog(records(P0, values)), P0)
    return TopicReader(
        consumer, "results", decode, clock=clock or ManualClock(), **options
    ), consumer


def ticking() -> Callable[[], float]:
    """Return a clock that goes on by a second each time it is looked at."""
    return itertools.count().__next__


def test_yields_what_is_wanted_in_order() -> None:
    """Unwanted records are passed over."""
    reader, consumer = a_reader("ab.c")

    assert list(reader.read(limit=3)) == ["a", "b", "c"]
    assert consumer.topics == ["results"]


def test_goes_on_where_the_last_call_ended() -> None:
    """What was polled beyond the limit is kept."""
    reader, _ = a_reader("abcd")

    first, second = list(reader.read(limit=1)), list(reader.read(limit=3))

    assert (first, second) == (["a"], ["b", "c", "d"])


def test_a_limit_of_none_of_them_reads_nothing() -> None:
    """A limit of 0 waits for nothing."""
    reader, consumer = a_reader("a")

    assert list(reader.read(limit=0)) == []
    assert consumer.polls == 0


def test_ends_when_no_record_comes_in_time() -> None:
    """The time counts from the last record, so that a slow topic is read to its end."""
    reader, consumer = a_reader("ab", clock=ticking())

    assert list(reader.read(timeout_seconds=3)) == ["a", "b"]
    assert consumer.polls == 1 + 3


def test_ends_at_the_end_of_every_partition() -> None:
    """Until the lag of each partition is known to be nought there may be more."""
    reader, consumer = a_reader("ab")
    steps = iter([{}, {P0: 1}, {P0: 0}])

    def step() -> None:
        if consumer.polls > 1:
            consumer.lag_records = next(steps)

    consumer.before_poll = step

    assert list(reader.read(until_end=True)) == ["a", "b"]
    assert list(steps) == []


def test_without_partitions_it_is_not_at_the_end() -> None:
    """Before the group has given it any, nothing is known."""
    consumer = ReadConsumer(MemoryLog())
    reader = TopicReader(consumer, "results", decode, clock=ticking())

    assert list(reader.read(until_end=True, timeout_seconds=2)) == []
    assert consumer.polls == 2


class Checks:
    """Counts the questions whether the topic is there, and answers with an error from one on."""

    def __init__(self, error: Exception, fails_from: int = 1) -> None:
        self.count = 0
        self._error, self._fails_from = error, fails_from

    def __call__(self) -> None:
        self.count += 1
        if self.count >= self._fails_from:
            raise self._error


@pytest.mark.parametrize("end", [{}, {"timeout_seconds": 3}, {"until_end": True}, {"limit": 1}])
@pytest.mark.parametrize("error", [UnknownTopicError("none"), BackendUnavailableError("none")])
def test_a_topic_that_is_missing_is_told(end: dict[str, Any], error: Exception) -> None:
    """However the reading would end, and if it would not."""
    check = Checks(error)
    consumer = ReadConsumer(MemoryLog())
    reader = TopicReader(consumer, "results", decode, check_topic=check, clock=ticking())

    with pytest.raises(type(error)):
        list(reader.read(**end))

    assert consumer.polls <= 5


@pytest.mark.parametrize("end", [{"until_end": True}, {"limit": 3}])
def test_brokers_that_go_away_end_a_reading_that_has_an_end(end: dict[str, Any]) -> None:
    """It would wait for ever; the next call may go on."""
    check = Checks(BackendUnavailableError("away"), fails_from=3)
    reader, _ = a_reader("ab", clock=ticking(), check_topic=check)
    reading = reader.read(**end)

    assert [next(reading), next(reading)] == ["a", "b"]
    with pytest.raises(BackendUnavailableError):
        next(reading)


def test_a_topic_without_records_is_no_error() -> None:
    """It is asked about until it is known to be there, and the reading ends as it was told to."""
    check = Checks(AssertionError("asked again"), fails_from=2)
    reader = TopicReader(
        ReadConsumer(MemoryLog()), "results", decode, check_topic=check, clock=ticking()
    )

    assert list(reader.read(timeout_seconds=100)) == []
    assert list(reader.read(timeout_seconds=3)) == []
    assert check.count == 1


def test_a_topic_whose_partitions_are_known_is_not_asked_about() -> None:
    """A reading with a timeout, or without an end, waits for brokers that go away."""
    check = Checks(BackendUnavailableError("away"))
    reader, _ = a_reader("a", clock=ticking(), check_topic=check)

    assert list(reader.read(timeout_seconds=100)) == ["a"]
    assert check.count == 0


def test_commits_behind_what_was_yielded() -> None:
    """Records polled and not yet yielded are read again by the next member."""
    reader, consumer = a_reader("ab.cd")

    list(reader.read(limit=3))
    reader.commit()

    assert consumer.log.committed == {P0: 4}


def test_commits_nothing_before_anything_is_read() -> None:
    """There is nothing to say yet."""
    reader, consumer = a_reader("a")

    reader.commit()

    assert consumer.log.committed == {}


def test_partitions_that_went_are_not_committed() -> None:
    """They are another's, who reads again what was not confirmed."""
    consumer = ReadConsumer(MemoryLog(records(P0, "ab") + records(P1, "c")), P0, P1)
    reader = TopicReader(consumer, "results", decode)
    assert sorted(reader.read(limit=3)) == ["a", "b", "c"]

    consumer.revoke(P0)
    reader.commit()

    assert consumer.log.committed == {P1: 1}


def test_a_record_that_cannot_be_read_is_told() -> None:
    """Reading may go on behind it."""
    reader, _ = a_reader("a?b")

    reading = reader.read(limit=2)
    assert next(reading) == "a"
    with pytest.raises(InvalidRecordError, match="question"):
        next(reading)

    assert list(reader.read(limit=1)) == ["b"]


def test_a_record_that_cannot_be_read_may_be_passed_over() -> None:
    """The caller hears of it, and reading goes on."""
    told = []
    reader, _ = a_reader("a?b", on_invalid=lambda record, error: told.append((record, error)))

    assert list(reader.read(limit=2)) == ["a", "b"]
    assert [(record.offset, error.field) for record, error in told] == [(1, "value")]


def test_a_record_whose_headers_cannot_be_read_is_told_as_such() -> None:
    """Not for the headers that it seems to lack, which its filter would look at."""
    bad = KafkaRecord(*P0, 1, 0, None, b".", UnreadableHeaders("a header name is not UTF-8"))
    told: list[str] = []
    log = MemoryLog([records(P0, "a")[0], bad])
    reader = TopicReader(
        ReadConsumer(log, P0),
        "results",
        decode,
        clock=ticking(),
        on_invalid=lambda _, error: told.append(str(error)),
    )

    assert list(reader.read(timeout_seconds=3)) == ["a"]
    assert told == ["record: a header name is not UTF-8"]


def test_leaving_the_context_leaves_the_group() -> None:
    """Its partitions are free at once."""
    reader, consumer = a_reader()

    with reader:
        pass

    assert consumer.closed
