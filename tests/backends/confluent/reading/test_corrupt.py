from typing import Any

from confluent_kafka import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from topicserve.backends.confluent.reading.corrupt import MAX_FETCHES, CorruptBatches
from topicserve.wire.kafka_record import TopicPartition, UnreadableHeaders

PARTITION = TopicPartition("in", 0)
BAD = KafkaError(KafkaError._BAD_COMPRESSION, "no gzip")
END = KafkaError(KafkaError._PARTITION_EOF)


class Message:
    """What librdkafka hands over: a record, or an error at an offset."""

    def __init__(self, offset: int, error: Any = None) -> None:
        self._offset = offset
        self._error = error

    def topic(self) -> str:
        return PARTITION.topic

    def partition(self) -> int:
        return PARTITION.partition

    def offset(self) -> int:
        return self._offset

    def error(self) -> Any:
        return self._error


class Log:
    """A partition with one batch that cannot be decoded, and where its reader stands."""

    def __init__(self, base: int, count: int, behind: int) -> None:
        self.base, self.stop, self.end = base, base + count, base + count + behind
        self.position = base
        self.seeks = 0
        self.batches = CorruptBatches(self._seek, lambda _: self.end)

    def _seek(self, partition: TopicPartition, offset: int) -> None:
        assert partition == PARTITION
        assert self.base < offset <= self.end
        self.position = offset
        self.seeks += 1

    def fetch(self) -> list[Message]:
        """Return what a fetch at the position brings."""
        if self.position < self.stop:
            return [Message(self.base, BAD)]
        return [*map(Message, range(self.position, self.end)), Message(self.end, END)]


@given(
    base=st.integers(0, 1000),
    count=st.integers(1, 5000),
    behind=st.integers(0, 20),
)
def test_a_batch_is_passed_over_to_its_very_end(base: int, count: int, behind: int) -> None:
    """Whatever its length, in few seeks; not a record behind it is lost."""
    log = Log(base, count, behind)
    read: list[int] = []

    for _ in range(60):
        for message in log.batches.filter(log.fetch()):
            if message.error() is BAD:
                assert log.batches.failed(message)
            elif message.error() is None:
                read.append(message.offset())
        found = log.batches.take_found()
        if found:
            break

    (record,) = found
    assert record.offset == log.stop - 1
    assert isinstance(record.headers, UnreadableHeaders)
    assert record.headers.first_offset == base
    assert log.position == log.stop
    assert read == []
    assert log.seeks <= 2 * count.bit_length() + 4


def test_a_batch_is_fetched_again_before_it_is_passed_over() -> None:
    """It may have been altered on its way."""
    log = Log(0, 5, 5)

    for _ in range(MAX_FETCHES - 1):
        assert log.batches.failed(Message(0, BAD))

    assert log.seeks == 0


def test_other_errors_are_no_corruption() -> None:
    """They are for the consumer to judge."""
    away = KafkaError(KafkaError._TRANSPORT)

    assert not Log(0, 1, 1).batches.failed(Message(0, away))


def test_a_search_ends_with_its_partition() -> None:
    """Its next owner begins again, and so does a reader that seeks elsewhere."""
    log = Log(0, 5, 5)
    for _ in range(MAX_FETCHES):
        log.batches.failed(Message(0, BAD))

    log.batches.forget(PARTITION)

    assert len(log.batches.filter([Message(1)])) == 1
