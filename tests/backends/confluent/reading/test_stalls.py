from tests.support.stages.records import ManualClock
from topicserve.backends.confluent.reading.stalls import ReadPosition, StallWatch
from topicserve.wire.kafka_record import TopicPartition

PARTITION = TopicPartition("in", 0)
BEHIND = {PARTITION: ReadPosition(5, 9)}


def test_a_partition_that_stands_still_though_more_is_there_is_found() -> None:
    """After the time given, and at every look from then on."""
    clock = ManualClock()
    watch = StallWatch(10, clock)

    assert watch.stalled(BEHIND) == {}
    clock.advance(9)
    assert watch.stalled(BEHIND) == {}
    clock.advance(1)
    assert watch.stalled(BEHIND) == BEHIND


def test_what_moves_or_is_at_its_end_does_not_stall() -> None:
    """Nor what was paused meanwhile, which is left out of a look."""
    clock = ManualClock()
    watch = StallWatch(10, clock)
    for places in (
        BEHIND,
        {PARTITION: ReadPosition(6, 9)},
        {PARTITION: ReadPosition(9, 9)},
        {},
        BEHIND,
    ):
        assert watch.stalled(places) == {}
        clock.advance(10)


def test_new_records_behind_a_long_idle_time_are_no_stall() -> None:
    """The time counts from when there was more to read."""
    clock = ManualClock()
    watch = StallWatch(10, clock)
    for _ in range(3):
        assert watch.stalled({PARTITION: ReadPosition(9, 9)}) == {}
        clock.advance(100)

    assert watch.stalled({PARTITION: ReadPosition(9, 12)}) == {}
    clock.advance(9)
    assert watch.stalled({PARTITION: ReadPosition(9, 12)}) == {}


def test_what_is_excused_is_found_again_once_it_moved() -> None:
    """An open transaction may last."""
    clock = ManualClock()
    watch = StallWatch(10, clock)
    watch.excuse(PARTITION, 5)
    watch.stalled(BEHIND)
    clock.advance(20)
    assert watch.stalled(BEHIND) == {}

    moved = {PARTITION: ReadPosition(6, 9)}
    watch.stalled(moved)
    clock.advance(20)
    assert watch.stalled(moved) == moved


def test_it_looks_a_few_times_in_that_time() -> None:
    """Each look costs a call for each partition."""
    clock = ManualClock()
    watch = StallWatch(8, clock)
    looks = []
    for _ in range(80):
        looks.append(watch.is_due())
        clock.advance(0.1)

    assert 3 <= sum(looks) <= 4
