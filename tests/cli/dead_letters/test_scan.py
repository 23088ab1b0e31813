from collections.abc import Sequence

import pytest

from tests.support.kafka.kafka_doubles import MemoryLog
from tests.support.stages.dead_letters import DEAD, a_dead_record
from tests.support.stages.fakes import ReadConsumer
from tests.support.stages.records import ManualClock
from topicserve.backends.broker import Offsets
from topicserve.backends.errors import BackendError, BackendUnavailableError
from topicserve.cli.dead_letters.scan import Scan
from topicserve.wire.kafka_record import TopicPartition

OTHER = TopicPartition("dead", 1)


def read(consumer: ReadConsumer, ends: Offsets, starts: Offsets | None = None) -> list[int]:
    """Return the offsets that a scan yields."""

    def start(new: Sequence[TopicPartition]) -> Offsets:
        return {p: o for p, o in (starts or {}).items() if p in new}

    reading = Scan(consumer, "dead", ends, timeout_seconds=30, starts=start, max_poll_records=2)
    return [record.offset for records in reading.read() for record in records]


def a_consumer(*offsets: int) -> ReadConsumer:
    """Return a consumer of dead letters at these offsets, and of a partition without any."""
    return ReadConsumer(MemoryLog([a_dead_record(offset) for offset in offsets]), DEAD, OTHER)


def test_reading_ends_where_the_topic_ended_at_the_start() -> None:
    """What comes meanwhile is left for the next reading, which otherwise might never end."""
    assert read(a_consumer(0, 1, 2, 3, 4), {DEAD: 3, OTHER: 0}) == [0, 1, 2]


def test_an_empty_topic_is_read_without_joining_a_group() -> None:
    """There is nothing to wait for."""
    consumer = a_consumer()

    assert read(consumer, {DEAD: 0, OTHER: 0}) == []
    assert consumer.polls == 0


def test_reading_begins_where_it_is_told_to() -> None:
    """What was polled before the seek is not read twice."""
    assert read(a_consumer(0, 1, 2, 3), {DEAD: 4, OTHER: 0}, {DEAD: 2}) == [2, 3]


def test_silence_before_the_end_is_an_error() -> None:
    """An open transaction holds readers of committed records up: nothing is left out quietly."""
    clock = ManualClock()
    consumer = a_consumer(0)
    consumer.before_poll = lambda: clock.advance(4)
    consumer.problem = "no broker"
    reading = Scan(consumer, "dead", {DEAD: 9, OTHER: 0}, timeout_seconds=30, clock=clock).read()

    assert [record.offset for record in next(reading)] == [0]
    with pytest.raises(
        BackendUnavailableError, match=r"no record came from dead.*partitions \[0\]"
    ):
        next(reading)


def test_a_seek_that_is_refused_at_first_is_tried_again() -> None:
    """Librdkafka takes none before it fetches a partition; what comes before is left out."""
    consumer = a_consumer(0, 1, 2, 3)
    refusals = iter([BackendError("Erroneous state")] * 3)
    seek = consumer.seek

    def refuse(offsets: Offsets) -> None:
        for error in refusals:
            raise error
        seek(offsets)

    consumer.seek = refuse  # type: ignore[method-assign]

    assert read(consumer, {DEAD: 4, OTHER: 0}, {DEAD: 1}) == [1, 2, 3]


class LateConsumer(ReadConsumer):
    """Tells the end of before its first seek, and reads from where it was sought the next time."""

    seeks = 0

    def seek(self, offsets: Offsets) -> None:
        self.seeks += 1
        super().seek(offsets if self.seeks > 1 else dict.fromkeys(offsets, 4))


def test_an_end_of_before_the_seek_is_not_taken_for_the_end() -> None:
    """Where nothing was read although there is something, the start is sought once more."""
    log = MemoryLog([a_dead_record(offset) for offset in range(4)])

    assert read(LateConsumer(log, DEAD, OTHER), {DEAD: 4, OTHER: 0}, {DEAD: 1}) == [1, 2, 3]


def test_a_topic_of_which_nothing_can_be_read_ends_all_the_same() -> None:
    """Its records were deleted, or are markers alone."""

    class AtEnd(ReadConsumer):
        def seek(self, offsets: Offsets) -> None:
            super().seek(dict.fromkeys(offsets, 4))

    assert read(AtEnd(MemoryLog(), DEAD, OTHER), {DEAD: 4, OTHER: 0}, {DEAD: 1}) == []
