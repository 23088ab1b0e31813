from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from tests.support.stages.records import ManualClock, a_kafka_record
from topicserve.backends.broker import ConsumerStats
from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.offsets.lag import LagGauges
from topicserve.worker.offsets.tracker import OffsetTracker
from topicserve.worker.stages.request import Polled
from topicserve.worker.telemetry.metrics import WorkerMetrics

PARTITION = TopicPartition("in", 0)
OTHER = TopicPartition("in", 1)


class World:
    """Gauges on a tracker with two partitions, and a wall clock that is moved by hand."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.tracker = OffsetTracker()
        self.tracker.assign([PARTITION, OTHER])
        self.clock = ManualClock()
        self.clock.advance(1_700_000_000)
        self.gauges = LagGauges(self.tracker, WorkerMetrics(self.registry), self.clock)

    def poll(self, *offsets: int, age_seconds: float = 0.0) -> list[Polled]:
        """Take records of one age in."""
        stamp = int((self.clock() - age_seconds) * 1000)
        records = [a_kafka_record(offset, timestamp_ms=stamp) for offset in offsets]
        assignments = self.tracker.track(records)
        return [
            Polled(record, assignment, 10, 0.0)
            for record, assignment in zip(records, assignments, strict=True)
            if assignment is not None
        ]

    def observe(self, records: int) -> None:
        """Look at what the consumer says of the first partition's lag."""
        lag = {PARTITION: records}
        self.gauges.observe(ConsumerStats(frozenset({PARTITION}), frozenset(), lag))

    def shown(self, unit: str, partition: int = 0) -> float | None:
        """Return what is shown of a partition."""
        labels = {"topic": "in", "partition": str(partition)}
        return self.registry.get_sample_value(f"topicserve_{unit}", labels)


def test_the_lag_goes_with_its_partition() -> None:
    """Its next owner shows it; two values would be added up."""
    world = World()
    world.observe(7)
    assert world.shown("consumer_lag_records") == 7

    world.tracker.release([PARTITION])
    world.gauges.forget([PARTITION])

    assert world.shown("consumer_lag_records") is None
    assert world.shown("consumer_lag_seconds") is None
    world.observe(7)
    assert world.shown("consumer_lag_records") is None, (
        "the client may know of it for a moment longer"
    )


def test_a_partition_that_went_unnoticed_is_removed_at_the_next_look() -> None:
    """Whatever took its place."""
    world = World()
    world.observe(7)

    world.tracker.release([PARTITION])
    world.observe(7)

    assert world.shown("consumer_lag_records") is None


def test_the_lag_of_a_paused_partition_grows_with_its_end() -> None:
    """The client fetches nothing and knows an old end; the broker was asked."""
    world = World()
    world.poll(0, 1, 2)
    world.observe(4)

    world.gauges.know_ends({PARTITION: 1003, OTHER: 5})
    world.observe(4)

    assert world.shown("consumer_lag_records") == 1003
    assert world.shown("consumer_lag_records", partition=1) is None, "its position is not known"


def test_records_that_are_held_back_are_behind() -> None:
    """All of the partition is polled; one record waits for a version, and holds the offset."""
    world = World()
    polled = world.poll(0, 1, 2, 3)
    world.tracker.finish([polled[0], polled[2], polled[3]])

    world.observe(0)
    assert world.shown("consumer_lag_records") == 3
    world.tracker.finish(polled[1:2])
    world.observe(0)
    assert world.shown("consumer_lag_records") == 0


def test_the_lag_in_seconds_is_the_age_of_the_oldest_unfinished_record() -> None:
    """And 0 when nothing is behind."""
    world = World()
    old = world.poll(0, age_seconds=60)
    new = world.poll(1, age_seconds=5)

    world.observe(0)
    assert world.shown("consumer_lag_seconds") == 60
    world.tracker.finish(old)
    world.observe(0)
    assert world.shown("consumer_lag_seconds") == 5
    world.tracker.finish(new)
    world.observe(0)
    assert world.shown("consumer_lag_seconds") == 0


def test_the_age_of_what_is_not_polled_counts_from_the_last_that_was() -> None:
    """Reading was stopped in a backlog: what comes next is about as old."""
    world = World()
    world.tracker.finish(world.poll(0, age_seconds=60))
    world.observe(9)
    assert world.shown("consumer_lag_seconds") == 60
    polled = world.poll(1, age_seconds=60)
    world.observe(8)

    world.tracker.finish(polled)
    world.clock.advance(30)
    world.observe(8)

    assert world.shown("consumer_lag_seconds") == 90


def test_what_is_seen_behind_is_as_old_as_that_at_least() -> None:
    """Nothing was polled: the age is not known, but the time since then is."""
    world = World()
    world.observe(0)
    world.observe(3)
    world.clock.advance(20)
    world.observe(3)

    assert world.shown("consumer_lag_seconds") == 20
    world.observe(0)
    assert world.shown("consumer_lag_seconds") == 0


def test_a_clock_behind_the_producers_shows_no_negative_age() -> None:
    """Records from the future are new."""
    world = World()
    world.poll(0, age_seconds=-60)

    world.observe(0)

    assert world.shown("consumer_lag_seconds") == 0


@pytest.mark.parametrize("spell_seconds", [1, 15, 3_600])
def test_a_record_after_a_quiet_spell_is_as_old_as_it_is(spell_seconds: float) -> None:
    """The last record before the spell was finished long ago."""
    world = World()
    world.tracker.finish(world.poll(0))
    for _ in range(3):
        world.clock.advance(spell_seconds)
        world.observe(0)

    world.poll(1, age_seconds=0.5)
    world.observe(0)

    assert world.shown("consumer_lag_seconds") == 0.5


def test_what_comes_after_a_quiet_spell_is_not_as_old_as_the_spell() -> None:
    """It is not polled yet, and came after the last look, which found nothing."""
    world = World()
    world.tracker.finish(world.poll(0))
    world.clock.advance(900)
    world.observe(0)
    world.clock.advance(1)

    world.observe(3)

    assert world.shown("consumer_lag_seconds") == 1


def test_the_oldest_record_grows_older_while_nothing_observes() -> None:
    """The polling thread is held: a scrape reckons for itself."""
    world = World()
    polled = world.poll(0, age_seconds=2)
    world.observe(0)

    world.clock.advance(24)
    assert world.shown("consumer_lag_seconds") == 26
    assert world.shown("consumer_lag_records") == 1
    world.tracker.finish(polled)

    assert world.shown("consumer_lag_seconds") == 0
    assert world.shown("consumer_lag_records") == 0


def test_what_is_polled_since_the_last_look_counts() -> None:
    """It lies behind the end that was known then."""
    world = World()
    world.tracker.finish(world.poll(0))
    world.observe(0)

    world.poll(1, 2, 3, age_seconds=1)

    assert world.shown("consumer_lag_records") == 3
    assert world.shown("consumer_lag_seconds") == 1


def test_ends_show_while_nothing_observes() -> None:
    """The broker watch has a thread of its own."""
    world = World()
    world.tracker.finish(world.poll(0))
    world.observe(0)

    world.gauges.know_ends({PARTITION: 41})
    world.clock.advance(9)

    assert world.shown("consumer_lag_records") == 40
    assert world.shown("consumer_lag_seconds") == 9


def test_the_broker_is_asked_for_ends_while_a_partition_is_behind() -> None:
    """A client with records left fetches none, so it knows an old end."""
    world = World()
    world.tracker.finish(world.poll(0))
    world.observe(0)
    assert not world.gauges.is_behind()

    world.observe(4)
    assert world.gauges.is_behind()
    world.gauges.forget([PARTITION])

    assert not world.gauges.is_behind()


@pytest.mark.parametrize("stamp_ms", [0, -1, 1_700_000_000])
def test_a_record_without_a_timestamp_is_as_old_as_it_is_the_oldest(stamp_ms: int) -> None:
    """Old topics have none, some producers write 0, and others seconds."""
    world = World()
    first, second = a_kafka_record(0, timestamp_ms=stamp_ms), a_kafka_record(1, timestamp_ms=0)
    polled = [
        Polled(record, assignment, 10, 0.0)
        for record, assignment in zip(
            [first, second], world.tracker.track([first, second]), strict=True
        )
        if assignment is not None
    ]
    world.observe(0)
    world.clock.advance(7)
    assert world.shown("consumer_lag_seconds") == 7

    world.tracker.finish(polled[:1])
    world.observe(0)
    world.clock.advance(2)

    assert world.shown("consumer_lag_seconds") == 2


@given(st.lists(st.integers(0, 100), min_size=1, max_size=200), st.data())
def test_the_age_is_right_within_a_poll_of_a_backlog(
    gaps_seconds: list[int], data: st.DataObject
) -> None:
    """One poll brings records of hours: it is that of the oldest unfinished one, or one near it."""
    world = World()
    now_ms = int(world.clock() * 1000)
    before = list(accumulate(gaps_seconds))
    stamps = [now_ms + 1000 * at for at in before]
    world.clock.advance(before[-1])
    records = [a_kafka_record(at, timestamp_ms=stamp) for at, stamp in enumerate(stamps)]
    polled = [
        Polled(record, assignment, 10, 0.0)
        for record, assignment in zip(records, world.tracker.track(records), strict=True)
        if assignment is not None
    ]
    world.observe(0)
    done = data.draw(st.integers(0, len(records) - 1))

    world.tracker.finish(polled[:done])

    shown, true = world.shown("consumer_lag_seconds"), before[-1] - before[done]
    assert shown is not None
    # Within so many records as come in a second on average.
    step = max(len(records) // max(before[-1] - before[0], 1), 1)
    assert before[-1] - before[done] <= shown <= before[-1] - before[max(done - step + 1, 0)]
    assert step > 1 or shown == true
