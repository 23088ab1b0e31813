"""How outcomes reach the broker and offsets are committed: one contract, a class a guarantee."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from topicserve.backends.broker import Consumer, Offsets, Producer
from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.config.schema import DeliveryConfig
from topicserve.worker.delivery.topic_limit import TopicLimit
from topicserve.worker.health.breaker import Breaker
from topicserve.worker.offsets.tracker import OffsetTracker
from topicserve.worker.runtime.fatal_error import FatalError
from topicserve.worker.runtime.retry import RetryLoop
from topicserve.worker.runtime.unavailable_servables import UnavailableServables
from topicserve.worker.stages.batch import Batcher
from topicserve.worker.stages.calls.second_tries import SecondTries
from topicserve.worker.stages.publish import Encoder, OutgoingBatch
from topicserve.worker.telemetry.metrics import WorkerMetrics


@dataclass(slots=True)
class DeliveryContext:
    """What a delivery works with."""

    consumer: Consumer
    producer: Producer
    tracker: OffsetTracker
    batcher: Batcher
    encoder: Encoder
    config: DeliveryConfig
    max_in_flight_records: int
    max_in_flight_bytes: int
    transaction_timeout_seconds: float
    retry_loop: RetryLoop
    metrics: WorkerMetrics
    clock: Callable[[], float]
    acknowledged: Callable[[OutgoingBatch], None]
    """Called once outcomes are acknowledged, from the delivery thread: it must be quick."""
    fatal: FatalError
    unavailable: UnavailableServables
    breaker: Breaker
    tries: SecondTries = field(default_factory=SecondTries)
    limit: TopicLimit = field(default_factory=lambda: TopicLimit(""))

    @property
    def drain_seconds(self) -> float:
        """Return how long to wait for what is in progress: not for a version that may never come.

        Nor for what an open breaker holds back.
        """
        return 0.0 if self.unavailable or self.breaker.open else self.config.drain_seconds


class Delivery(Protocol):
    """Publishes outcomes and commits the offsets of what was acknowledged, never past a gap."""

    def start(self, timeout_seconds: float) -> None:
        """Get ready to publish. Called once, before anything is polled."""

    @property
    def open_epoch(self) -> int:
        """Return the epoch that records polled now belong to."""

    @property
    def committing_epoch(self) -> int:
        """Return the epoch that is published next."""

    def admit(self, records: int) -> None:
        """Count records into the open epoch. Called by the polling thread."""

    def publish(self, epoch: int, outgoing: OutgoingBatch) -> None:
        """Publish the outcomes of one batch, now or with its epoch; may wait for room.

        Raises ShutdownRequestedError when the worker gives up. What is no longer ours is dropped.
        """

    def wait_for_room(self, timeout_seconds: float) -> bool:
        """Wait until outcomes take less memory than may be in flight; False if the time ran out.

        Called by batch threads before they take a batch.
        """

    def tick(self, *, idle: bool = False) -> None:
        """Do what is due: commit, end an epoch, begin again. Called by the polling thread.

        `idle` says that a poll has just returned nothing: nothing more comes at the moment.
        """

    def commit_notes(self) -> bool:
        """Commit the tracker's notes, at offsets that are committed or finished.

        Called by the polling thread; waits for the answer. False where the broker did not take
        them, or cannot for the moment: ask again later.
        """

    def revoke(self, partitions: Sequence[TopicPartition]) -> Offsets:
        """Finish these partitions' records within the drain budget, and release them.

        While any route waits for a version there is no budget: others may have that version.
        Returns the offsets that the consumer is to commit before they are gone.
        """

    def lose(self, partitions: Sequence[TopicPartition]) -> None:
        """Let partitions go that someone else may own already."""

    def finish(self, timeout_seconds: float) -> bool:
        """Publish and commit all that is in progress; False if the time ran out first.

        Called by the polling thread, once nothing more is polled.
        """

    def close(self, timeout_seconds: float) -> None:
        """End its threads and its producer."""
