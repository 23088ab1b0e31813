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
    assert world.shown("consumer_lag_seconds") == 0, "nothing is known of what comes"
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
