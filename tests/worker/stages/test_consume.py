from collections.abc import Sequence

from prometheus_client import CollectorRegistry

from tests.support.kafka.kafka_doubles import MemoryConsumer, MemoryLog
from tests.support.stages.environments import an_environment
from tests.support.stages.logged import Logged
from tests.support.stages.records import ROUTE, ManualClock, a_kafka_record, a_request
from topicserve.backends.broker import Offsets
from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.config.schema import BatchingConfig
from topicserve.worker.delivery.delivery import Delivery
from topicserve.worker.health.unavailable_servables import UnavailableServables
from topicserve.worker.offsets.assignment import PartitionAssignment
from topicserve.worker.offsets.tracker import OffsetTracker
from topicserve.worker.quarantine.quarantine import Quarantine
from topicserve.worker.rebalance import Rebalance
from topicserve.worker.stages.batch import Batcher
from topicserve.worker.stages.batch_sizer import BatchSizer
from topicserve.worker.stages.consume import FlowControl
from topicserve.worker.stages.request import Polled

PARTITION = TopicPartition("in", 0)
OTHER = TopicPartition("in", 1)


class World:
    """Flow control over one consumer and one tracker."""

    def __init__(self, max_records: int = 4) -> None:
        self.registry = CollectorRegistry()
        self.consumer = MemoryConsumer(MemoryLog())
        self.tracker = OffsetTracker()
        self.clock = ManualClock()
        self.environment = an_environment(
            self.registry,
            self.clock,
            batching=BatchingConfig(max_in_flight_records=max_records),
        )
        self.flow = FlowControl(self.environment, self.consumer, self.tracker)
        self.tracker.assign([PARTITION])

    def poll(self, *offsets: int) -> list[Polled]:
        """Take records in."""
        records = [a_kafka_record(offset) for offset in offsets]
        return [
            Polled(record, assignment, 10, 0.0)
            for record, assignment in zip(records, self.tracker.track(records), strict=True)
            if assignment is not None
        ]

    def gauge(self, name: str) -> float | None:
        """Return a gauge's value."""
        return self.registry.get_sample_value(name)


def test_the_consumers_last_error_is_kept_with_its_time() -> None:
    """Until records come again, which clear it."""
    world = World()
    world.consumer.problem = "in-0: leader not available"
    for _ in range(5):
        world.clock.advance(1)
        world.flow.regulate((), is_paused=False)

    told = world.flow.consumer_problem()
    world.consumer.problem = ""
    world.clock.advance(1)
    world.flow.regulate((), is_paused=False)

    assert told == "in-0: leader not available (for 4 s)"
    assert world.flow.consumer_problem() == ""


def test_full_means_pause_and_half_empty_means_resume() -> None:
    """Nothing is dropped, and partitions do not flap."""
    world = World(max_records=4)
    polled = world.poll(0, 1, 2, 3)

    world.flow.regulate((), is_paused=False)
    assert world.consumer.paused == {PARTITION}
    assert world.gauge("topicserve_paused_partitions") == 1
    world.tracker.finish(polled[:1])
    world.flow.regulate((), is_paused=False)
    assert world.consumer.paused == {PARTITION}
    world.tracker.finish(polled[1:2])
    world.flow.regulate((), is_paused=False)

    assert world.consumer.paused == set()
    assert world.gauge("topicserve_paused_partitions") == 0


def test_partitions_that_come_while_full_are_paused_too() -> None:
    """Kafka hands them over unpaused, also those that were paused before they went."""
    world = World(max_records=1)
    world.poll(0)
    world.flow.regulate((), is_paused=False)
    world.consumer.paused.clear()
    world.tracker.assign([OTHER])
    world.flow.forget([PARTITION, OTHER])

    world.flow.regulate((), is_paused=False)

    assert world.consumer.paused == {PARTITION, OTHER}


def test_a_stopped_worker_reads_nothing_and_stays_a_member() -> None:
    """An open breaker pauses what is assigned, however empty the worker is."""
    world = World()

    world.flow.regulate((), is_paused=True)

    assert world.consumer.paused == {PARTITION}
    assert world.gauge("topicserve_breaker_open") == 1


def test_what_is_in_flight_is_counted_and_shown() -> None:
    """By record and by byte, as the gauges say."""
    world = World()
    records = [a_kafka_record(0), a_kafka_record(1)]
    world.tracker.track(records)

    world.flow.admit(records, [a_request(size_bytes=30), a_request(size_bytes=12)], [])
    world.flow.regulate((), is_paused=False)

    assert world.gauge("topicserve_in_flight_records") == 2
    assert world.gauge("topicserve_in_flight_bytes") == 42
    consumed = world.registry.get_sample_value("topicserve_records_consumed_total", {"topic": "in"})
    assert consumed == 2


def test_how_far_a_partition_is_behind_is_shown() -> None:
    """As the consumer knows it, without asking the broker."""
    world = World()
    world.consumer.lag_records = {PARTITION: 17}

    world.flow.regulate((), is_paused=False)

    place = {"topic": "in", "partition": "0"}
    assert world.registry.get_sample_value("topicserve_consumer_lag_records", place) == 17


class FakeDelivery:
    """Notes what it is told of partitions."""

    def __init__(self, tracker: OffsetTracker) -> None:
        self.told: list[tuple[str, list[TopicPartition]]] = []
        self._tracker = tracker

    def revoke(self, partitions: Sequence[TopicPartition]) -> Offsets:
        self.told.append(("revoke", list(partitions)))
        self._tracker.release(partitions)
        return {PARTITION: 9}

    def lose(self, partitions: Sequence[TopicPartition]) -> None:
        self.told.append(("lose", list(partitions)))
        self._tracker.release(partitions)


def test_partitions_come_and_go_through_the_delivery() -> None:
    """What is to be committed before they go is the delivery's to say."""
    world = World()
    fake = FakeDelivery(world.tracker)
    delivery: Delivery = fake  # type: ignore[assignment]
    metrics = world.environment.metrics
    batcher = Batcher(BatchingConfig(), BatchSizer(1, 0), ManualClock())
    waiting = UnavailableServables()
    quarantine = Quarantine(world.environment, world.consumer, world.tracker, batcher, delivery)
    rebalance = Rebalance(
        world.tracker, world.flow, batcher, delivery, waiting, quarantine, metrics
    )
    assert not rebalance.joined

    rebalance.on_assigned([OTHER])
    assert rebalance.joined
    assert set(world.tracker.partitions()) == {PARTITION, OTHER}
    assert rebalance.on_revoked([PARTITION]) == {PARTITION: 9}
    rebalance.on_lost([OTHER])

    assert fake.told == [("revoke", [PARTITION]), ("lose", [OTHER])]
    for event in ("assigned", "revoked", "lost"):
        found = metrics.registry.get_sample_value("topicserve_rebalances_total", {"event": event})
        assert found == 1
    assert metrics.registry.get_sample_value("topicserve_assigned_partitions") == 0


def test_records_left_unfinished_to_another_member_are_counted(logged: Logged) -> None:
    """By how the partitions went; what was finished before is not abandoned."""
    world = World()
    delivery: Delivery = FakeDelivery(world.tracker)  # type: ignore[assignment]
    metrics = world.environment.metrics
    batcher = Batcher(BatchingConfig(), BatchSizer(1, 0), ManualClock())
    quarantine = Quarantine(world.environment, world.consumer, world.tracker, batcher, delivery)
    rebalance = Rebalance(
        world.tracker, world.flow, batcher, delivery, UnavailableServables(), quarantine, metrics
    )
    rebalance.on_assigned([OTHER])
    world.tracker.finish(world.poll(0, 1, 2)[:1])
    world.tracker.track([a_kafka_record(offset, partition=1) for offset in range(5)])

    rebalance.on_revoked([PARTITION])
    rebalance.on_lost([OTHER])

    for cause, count in (("revoked", 2), ("lost", 5), ("shutdown", 0)):
        name = "topicserve_abandoned_records_total"
        assert metrics.registry.get_sample_value(name, {"cause": cause}) == count
    other = {"partitions": "in-1", "unfinished_records": 0}
    assert logged("partitions_assigned") == [other]
    assert logged("partitions_revoked") == [{"partitions": "in-0", "unfinished_records": 2}]
    assert logged("partitions_lost") == [other | {"unfinished_records": 5}]


def test_what_waits_for_a_version_goes_with_its_partition() -> None:
    """It would hold memory for as long as the version is away, and no one wants its result."""
    world = World()
    fake = FakeDelivery(world.tracker)
    delivery: Delivery = fake  # type: ignore[assignment]
    batcher = Batcher(BatchingConfig(), BatchSizer(1, 0), ManualClock())
    waiting = UnavailableServables()
    metrics = world.environment.metrics
    quarantine = Quarantine(world.environment, world.consumer, world.tracker, batcher, delivery)
    rebalance = Rebalance(
        world.tracker, world.flow, batcher, delivery, waiting, quarantine, metrics
    )
    gone, kept = PartitionAssignment(PARTITION), PartitionAssignment(OTHER)
    batcher.add([a_request(assignment=gone), a_request(assignment=kept)], [], 0)
    waiting.note(ROUTE, "no version")
    gone.closed = True

    rebalance.on_lost([PARTITION])

    batch = batcher.take()
    assert batch is not None
    assert [request.assignment for request in batch.requests] == [kept]
    assert not waiting
