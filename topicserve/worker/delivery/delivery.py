"""How outcomes reach the broker and offsets are committed: one contract, a class a guarantee."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from topicserve.backends.broker import Consumer, Offsets, Producer
from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.delivery.outcomes import Refusals
from topicserve.worker.health.breaker import Breaker
from topicserve.worker.health.unavailable_servables import UnavailableServables
from topicserve.worker.offsets.tracker import OffsetTracker
from topicserve.worker.runtime.environment import Environment
from topicserve.worker.stages.batch import Gathers
from topicserve.worker.stages.publish import OutgoingBatch


@dataclass(slots=True)
class DeliveryContext:
    """What a delivery works with: Kafka's two clients, and the stages before and after it."""

    environment: Environment
    consumer: Consumer
    producer: Producer
    tracker: OffsetTracker
    batcher: Gathers
    """Takes records back that are to be predicted again."""
    refusals: Refusals
    acknowledged: Callable[[OutgoingBatch], None]
    """Called once outcomes are acknowledged, from the delivery thread: it must be quick."""
    unavailable: UnavailableServables
    breaker: Breaker

    @property
    def drain_timeout_seconds(self) -> float:
        """Return how long to wait for what is in progress: not for a version that may never come.

        Nor for what an open breaker holds back.
        """
        if self.unavailable or self.breaker.open:
            return 0.0
        return self.environment.config.delivery.drain_timeout_seconds


class Delivery(Protocol):
    """Publishes outcomes and commits the offsets of what was acknowledged, never past a gap.

    Three kinds of thread call it: the polling thread, the batch threads and the thread that runs
    the worker. Each member names its caller. An error that is not named ends the worker.
    """

    def start(self, timeout_seconds: float) -> None:  # noqa: ARG002 - used where overridden
        """Connect to the broker as the guarantee requires; by default nothing is needed.

        Called once by the thread that runs the worker, before anything is polled. May block for
        the timeout. BackendUnavailableError: the broker did not answer; the worker exits.
        """
        return  # a default; an empty body would be abstract

    def admit(self, records: int) -> int:
        """Count polled records, and return the epoch that their outcomes are published with.

        Called by the polling thread, once a poll, with every record that has an outcome. Never
        blocks; an implementation locks its counts only.
        """

    def publish(self, epoch: int, outgoing: OutgoingBatch) -> None:
        """Publish the outcomes of one batch, now or with its epoch.

        Called by batch threads, for one partition in the order of its records, without a lock.
        Blocks while the client's buffer is full or the broker is away. Outcomes of revoked
        partitions are dropped. ShutdownRequestedError: nothing was published; end the thread.
        """

    def wait_for_room(self, timeout_seconds: float) -> bool:
        """Wait until outcomes take less memory than may be in flight; False after the timeout.

        Called by batch threads before they take a batch, without a lock. On False, look whether
        the worker has failed, and call again.
        """

    def tick(self, *, idle: bool = False) -> None:
        """Do what is due: commit, seal an epoch, or rewind after an aborted transaction.

        Called by the polling thread after every poll; `idle` says that it returned nothing. May
        block for one commit, or until an aborted transaction has ended. Commits that the group
        refuses or the broker does not answer are tried again by a later tick.
        """

    def commit_notes(self) -> bool:
        """Commit the tracker's notes, at offsets that are committed or finished.

        Called by the polling thread; blocks for the broker's answer. False where the broker did
        not take them, or cannot at the moment: call again later.
        """

    def revoke(self, partitions: Sequence[TopicPartition]) -> Offsets:
        """Finish these partitions' records within the drain budget, and release them.

        Called inside the rebalance callback, on the client's thread for it or the polling thread;
        blocks for the budget. While a servable is unavailable there is no budget: another member
        may have that version. Returns the offsets that the consumer must commit before it gives
        the partitions up.
        """

    def lose(self, partitions: Sequence[TopicPartition]) -> None:
        """Release partitions that another member may own already.

        Called as `revoke` is. Does not block.
        """

    def finish(self, timeout_seconds: float) -> bool:
        """Publish and commit all that is in flight; False if that takes longer.

        Called by the polling thread, once nothing more is polled. Blocks for the timeout.
        """

    def close(self, timeout_seconds: float) -> None:
        """End its threads and its producer.

        Called once by the thread that runs the worker, after the polling loop has ended. May
        block for the timeout. The retry loop was shut down before: no batch thread still publishes.
        """
