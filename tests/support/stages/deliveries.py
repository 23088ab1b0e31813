"""What the tests of both delivery guarantees have in common."""

from collections.abc import Callable

from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from tests.support.kafka.kafka_doubles import MemoryConsumer, MemoryLog, MemoryProducer
from tests.support.stages.environments import an_environment
from tests.support.stages.records import ManualClock, a_kafka_record
from topicserve.backends.errors import BackendError, RecordTooLargeError
from topicserve.wire.dead_letter import Reason
from topicserve.wire.dead_letter_fit import size_bytes
from topicserve.wire.kafka_record import OutgoingRecord, TopicPartition
from topicserve.worker.config.schema import BatchingConfig, DeliveryConfig
from topicserve.worker.delivery.delivery import Delivery, DeliveryContext
from topicserve.worker.delivery.outcomes import Acknowledgement, Refusals
from topicserve.worker.health.breaker import Breaker
from topicserve.worker.health.dead_letter_log import DeadLetterLog
from topicserve.worker.health.unavailable_servables import UnavailableServables
from topicserve.worker.offsets.tracker import OffsetTracker
from topicserve.worker.runtime.topic_limit import TopicLimits
from topicserve.worker.stages.batch import Batcher
from topicserve.worker.stages.batch_sizer import BatchSizer
from topicserve.worker.stages.calls.second_tries import SecondTries
from topicserve.worker.stages.publish import Encoder, OutgoingBatch
from topicserve.worker.stages.request import BatchPrediction, Polled, Rejection


def limit_of(max_bytes: int) -> Callable[[OutgoingRecord], BackendError | None]:
    """Refuse records that are larger, as a topic's max.message.bytes does."""
    return lambda sent: (
        RecordTooLargeError(f"{size_bytes(sent)} bytes") if size_bytes(sent) > max_bytes else None
    )


class Deliveries:
    """A delivery on a log in memory, and the steps that a worker takes with it."""

    delivery: Delivery

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        drain_timeout_seconds: float = 0.0,
        dead_letter_topic: str = "dead",
    ) -> None:
        self.registry = registry
        self.log = MemoryLog()
        self.consumer = MemoryConsumer(self.log)
        self.producer = MemoryProducer(self.log)
        self.clock = ManualClock()
        self.acknowledged: list[OutgoingBatch] = []
        self._epochs: dict[tuple[TopicPartition, int], int] = {}
        batching = BatchingConfig(max_in_flight_records=16, max_in_flight_bytes=1000)
        self.environment = an_environment(
            registry,
            self.clock,
            batching=batching,
            delivery=DeliveryConfig(
                commit_interval_seconds=0.5, drain_timeout_seconds=drain_timeout_seconds
            ),
        )
        tries = SecondTries()
        acknowledge = Acknowledgement(self.environment, tries, DeadLetterLog(self.clock))

        def acknowledged(outgoing: OutgoingBatch) -> None:
            self.acknowledged.append(outgoing)
            acknowledge(outgoing)

        self.encoder = Encoder("out", dead_letter_topic, "worker-1", tries)
        limits = TopicLimits.of(self.environment.config)
        self.context = DeliveryContext(
            environment=self.environment,
            consumer=self.consumer,
            producer=self.producer,
            tracker=OffsetTracker(),
            batcher=Batcher(batching, BatchSizer(batching.max_batch_size, 0), self.clock),
            refusals=Refusals(limits, self.encoder, tries, self.environment.metrics),
            acknowledged=acknowledged,
            unavailable=UnavailableServables(),
            breaker=Breaker(1000, 1.0),
        )

    def assign(self, *partitions: TopicPartition) -> None:
        """Give this worker partitions."""
        self.context.tracker.assign(partitions)
        for partition in partitions:
            self.consumer.positions[partition] = 0

    def polled(self, *offsets: int, partition: int = 0) -> list[Polled]:
        """Take records in as the polling thread does."""
        records = [a_kafka_record(offset, partition=partition) for offset in offsets]
        assignments = self.context.tracker.track(records)
        self.context.tracker.count_bytes(10 * len(records))
        epoch = self.delivery.admit(len(records))
        self._epochs |= {(TopicPartition("in", partition), offset): epoch for offset in offsets}
        return [
            Polled(record, assignment, 10, self.clock())
            for record, assignment in zip(records, assignments, strict=True)
            if assignment is not None
        ]

    def publish(self, *polled: Polled, epoch: int | None = None) -> None:
        """Publish a result for each record as one batch."""
        outgoing = OutgoingBatch("digits", 1)
        for one in polled:
            headers = [header for header in one.record.headers if header[0] == "ce_id"]
            outgoing.add(one, OutgoingRecord("out", b"key", b"{}", headers), None)
        self.delivery.publish(self._epoch_of(polled[0]) if epoch is None else epoch, outgoing)

    def polled_invalid(self, offset: int, value: bytes, partition: int = 0) -> Polled:
        """Take one record in that no codec takes."""
        (polled,) = self.polled(offset, partition=partition)
        return replace(polled, record=replace(polled.record, value=value))

    def publish_dead_letter(self, polled: Polled, epoch: int | None = None) -> None:
        """Publish a record's dead letter."""
        rejection = Rejection(polled, Reason.INVALID_RECORD, ValueError("no JSON"))
        outgoing = self.encoder.encode(BatchPrediction("digits", 1, "", [], []), [], [rejection])
        self.delivery.publish(self._epoch_of(polled) if epoch is None else epoch, outgoing)

    def _epoch_of(self, polled: Polled) -> int:
        return self._epochs[polled.assignment.partition, polled.record.offset]

    def commit_when_due(self) -> None:
        """Let the commit interval pass."""
        self.clock.advance(0.5)
        self.delivery.tick()

    def id_of(self, polled: Polled) -> str:
        """Return a record's id."""
        return (dict(polled.record.headers)["ce_id"] or b"").decode()

    def id_in(self, sent: OutgoingRecord) -> str:
        """Return a result's record id."""
        return (dict(sent.headers)["ce_id"] or b"").decode()

    def count(self, name: str, **labels: str) -> float:
        """Return a counter's value."""
        return self.registry.get_sample_value(name, labels) or 0.0
