"""What the tests of both delivery guarantees have in common."""

from collections.abc import Callable

from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from tests.support.kafka.kafka_doubles import MemoryConsumer, MemoryLog, MemoryProducer
from tests.support.stages.records import ManualClock, a_kafka_record
from topicserve.backends.errors import BackendError, RecordTooLargeError
from topicserve.wire.dead_letter import Reason
from topicserve.wire.dead_letter_fit import size_bytes
from topicserve.wire.kafka_record import OutgoingRecord, TopicPartition
from topicserve.worker.config.schema import BatchingConfig, DeliveryConfig
from topicserve.worker.delivery.delivery import Delivery, DeliveryContext
from topicserve.worker.health.breaker import Breaker
from topicserve.worker.offsets.tracker import OffsetTracker
from topicserve.worker.runtime.fatal_error import FatalError
from topicserve.worker.runtime.retry import RetryLoop
from topicserve.worker.runtime.unavailable_servables import UnavailableServables
from topicserve.worker.stages.batch import Batcher
from topicserve.worker.stages.batch_sizer import BatchSizer
from topicserve.worker.stages.publish import Encoder, OutgoingBatch
from topicserve.worker.stages.request import BatchPrediction, Polled, Rejection
from topicserve.worker.telemetry.metrics import WorkerMetrics


def limit_of(max_bytes: int) -> Callable[[OutgoingRecord], BackendError | None]:
    """Refuse records that are larger, as a topic's max.message.bytes does."""
    return lambda sent: (
        RecordTooLargeError(f"{size_bytes(sent)} bytes") if size_bytes(sent) > max_bytes else None
    )


class Deliveries:
    """A delivery on a log in memory, and the steps that a worker takes with it."""

    delivery: Delivery

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.log = MemoryLog()
        self.consumer = MemoryConsumer(self.log)
        self.producer = MemoryProducer(self.log)
        self.clock = ManualClock()
        self.acknowledged: list[OutgoingBatch] = []
        self._epochs: dict[tuple[TopicPartition, int], int] = {}
        batching = BatchingConfig()
        self.context = DeliveryContext(
            consumer=self.consumer,
            producer=self.producer,
            tracker=OffsetTracker(),
            batcher=Batcher(batching, BatchSizer(batching.max_batch_size, 0), self.clock),
            encoder=Encoder("out", "dead", "worker-1"),
            config=DeliveryConfig(commit_interval_seconds=0.5, drain_seconds=0.0),
            max_in_flight_records=16,
            max_in_flight_bytes=1000,
            transaction_timeout_seconds=10.0,
            retry_loop=RetryLoop(max_pause_seconds=0.001),
            metrics=WorkerMetrics(registry),
            clock=self.clock,
            acknowledged=self.acknowledged.append,
            fatal=FatalError(),
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
        outgoing = self.context.encoder.encode(
            BatchPrediction("digits", 1, "", [], []), [], [rejection]
        )
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
