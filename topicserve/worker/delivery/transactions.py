"""Exactly once: the transaction of one epoch, from its first record to its end.

One thread at a time, with the transaction's lock held. Every call to the broker has a limit.
"""

from collections.abc import Iterator, Mapping, Sequence

from topicserve.backends.broker import Offsets
from topicserve.backends.errors import (
    BackendError,
    BackendUnavailableError,
    CommitRefusedError,
    RecordRefusedError,
    TransactionAbortedError,
)
from topicserve.wire.dead_letter import Reason
from topicserve.wire.kafka_record import OutgoingRecord, TopicPartition
from topicserve.worker.delivery.delivery import DeliveryContext
from topicserve.worker.delivery.epochs import Epoch, Epochs
from topicserve.worker.offsets.assignment import PartitionAssignment
from topicserve.worker.stages.publish import OutgoingBatch
from topicserve.worker.stages.request import Polled
from topicserve.worker.telemetry.logging import log_event

# A transaction is given up when so much of its time (`transaction.timeout.ms`) is over, before the
# broker does so by itself: that would fence this producer, as if another had taken its place.
GIVEN_UP_AFTER = 0.8
# As long as the clients wait for any answer (request.timeout.ms). What has none by then is asked
# again, where kafka-python does so through a new client, which ends what the old one began.
ABORT_TIMEOUT_SECONDS = 10.0
MAX_REPLACED = 10_000
# What a record may fail with because of its transaction: kafka-python gives the transaction's own
# error to all that was not sent, such as a rebalance that refused the offsets.
_DOOMING = (BackendUnavailableError, TransactionAbortedError, CommitRefusedError)


class Transactions:
    """Writes epochs, one at a time, as its caller ensures. Marks those that go wrong for abort."""

    def __init__(self, context: DeliveryContext, epochs: Epochs) -> None:
        environment = context.environment
        self._epochs = epochs
        self._consumer = context.consumer
        self._producer = context.producer
        self._refusals = context.refusals
        self._retry_loop = environment.retry_loop
        self._metrics = environment.metrics
        self._clock = environment.clock
        self._fatal = environment.fatal
        self._timeout_seconds = environment.config.transaction_timeout_ms / 1000 * GIVEN_UP_AFTER
        # What is sent the next time in the place of refused outcomes, until it is committed.
        self._replaced: dict[tuple[TopicPartition, int], tuple[OutgoingRecord, Reason]] = {}

    def write(self, epoch: Epoch, offsets: Offsets) -> None:
        """Send an epoch's outcomes and commit them with these offsets.

        Raises TransactionAbortedError or CommitRefusedError when it cannot be committed.
        """
        self._producer.begin_transaction()
        epoch.open = True
        epoch.give_up_at = self._clock() + self._timeout_seconds
        for outgoing in epoch.outcomes:
            self._send(epoch, self._with_replaced(outgoing) if self._replaced else outgoing)
        self._commit(epoch, offsets)
        epoch.open = False
        self._forget_replaced(epoch)

    def end(self, epoch: Epoch) -> bool:
        """Abort an open epoch's transaction; True if it turns out to be committed after all."""
        self._abort()
        if epoch.in_doubt and epoch.end is not None and self._is_committed(epoch, epoch.end):
            log_event("commit_confirmed")
            return True
        self._metrics.transactions.labels("aborted").inc()
        return False

    def abort_once(self, timeout_seconds: float) -> None:
        """Try to abort: a transaction that no one ends is aborted by the broker in time."""
        try:
            self._producer.abort_transaction(timeout_seconds)
        except BackendError as error:
            log_event("abort_failed", problem=str(error))

    def _send(self, epoch: Epoch, outgoing: OutgoingBatch) -> None:
        for attempt in self._tries(epoch):
            if attempt:
                self._metrics.retries.labels("publish").inc()
            try:
                self._producer.send(
                    outgoing.records,
                    lambda errors: self._delivered(epoch, outgoing, errors),
                    max(epoch.give_up_at - self._clock(), 0),
                )
            except BackendUnavailableError as error:
                log_event("publish_retry", problem=str(error))
            else:
                return

    def _delivered(
        self, epoch: Epoch, outgoing: OutgoingBatch, errors: Sequence[BackendError | None]
    ) -> None:
        """Mark the transaction for abort where a record did not get into it.

        Runs on the delivery thread.
        """
        if not any(errors):
            return
        # All refusals are noted before the first one marks the transaction, and also if that is
        # aborted already: what is not noted would be refused again, and again.
        replaced = [
            isinstance(error, RecordRefusedError) and self._replace(outgoing, index, error)
            for index, error in enumerate(errors)
        ]
        if epoch.aborted:
            return  # what an abort throws away is reported as failed, too
        for error, is_replaced in zip(errors, replaced, strict=True):
            if is_replaced or isinstance(error, _DOOMING):
                self._epochs.mark_aborted(str(error))
            elif error is not None:
                self._fatal.report(error)
                self._epochs.mark_aborted(str(error))

    def _replace(self, outgoing: OutgoingBatch, index: int, error: RecordRefusedError) -> bool:
        """Note what takes a refused outcome's place the next time; False if nothing can.

        A result may be predicted in another way then, and no dead letter takes its place.
        """
        self._refusals.note(outgoing, index, error)
        if self._refusals.is_tried_again(outgoing, index, error):
            return True
        found = self._refusals.replacement(outgoing, index, error)
        if found is None:
            return False
        if len(self._replaced) >= MAX_REPLACED:
            self._replaced.clear()  # of partitions that went: their next owner finds the same
        self._replaced[_place(outgoing.polled[index])] = found
        return True

    def _with_replaced(self, outgoing: OutgoingBatch) -> OutgoingBatch:
        """Put replacements in the place of what was refused the time before."""
        for index, polled in enumerate(outgoing.polled):
            found = self._replaced.get(_place(polled))
            if found is not None:
                outgoing.records[index], outgoing.reasons[index] = found
        return outgoing

    def _forget_replaced(self, epoch: Epoch) -> None:
        if self._replaced:
            for outgoing in epoch.outcomes:
                for polled in outgoing.polled:
                    self._replaced.pop(_place(polled), None)

    def _commit(self, epoch: Epoch, offsets: Offsets) -> None:
        """Commit, asking again while no one answers: asking twice commits once."""
        offsets_sent = False
        for attempt in self._tries(epoch):
            if attempt:
                self._metrics.retries.labels("transaction").inc()
            try:
                if not offsets_sent:
                    self._producer.send_offsets_to_transaction(
                        offsets, epoch.group_metadata, epoch.give_up_at - self._clock()
                    )
                    offsets_sent = True
                epoch.in_doubt = True
                self._producer.commit_transaction(epoch.give_up_at - self._clock())
            except BackendUnavailableError as error:
                log_event("commit_waits", problem=str(error))
            else:
                return

    def _tries(self, epoch: Epoch) -> Iterator[int]:
        """Yield tries with pauses between; raise TransactionAbortedError if it has no future."""
        for attempt in self._retry_loop.tries():
            if self._epochs.abort_reason is not None:
                raise TransactionAbortedError(self._epochs.abort_reason)
            if self._clock() >= epoch.give_up_at:
                raise TransactionAbortedError(
                    f"the transaction was not committed in {self._timeout_seconds:.1f} s"
                )
            yield attempt

    def _abort(self) -> None:
        for attempt in self._retry_loop.tries():
            if attempt:
                self._metrics.retries.labels("transaction").inc()
            try:
                self._producer.abort_transaction(ABORT_TIMEOUT_SECONDS)
            except BackendUnavailableError as error:
                log_event("abort_waits", problem=str(error))
            else:
                return

    def _is_committed(self, epoch: Epoch, cut: Mapping[PartitionAssignment, int]) -> bool:
        """Ask the group: a transaction's offsets are there all, or none is."""
        # A partition that went meanwhile may be committed by someone else, and one without records
        # in this transaction stood where it stands before.
        assignments = {
            polled.assignment for outgoing in epoch.outcomes for polled in outgoing.polled
        }
        expected = {
            assignment.partition: cut[assignment]
            for assignment in assignments
            if assignment in cut and not assignment.closed
        }
        if not expected:
            return False
        for _ in self._retry_loop.tries():
            try:
                found = self._consumer.committed(list(expected), ABORT_TIMEOUT_SECONDS)
            except BackendUnavailableError as error:
                log_event("commit_in_doubt", problem=str(error))
            else:
                return found == expected
        raise AssertionError("retry_loop does not run out")


def _place(polled: Polled) -> tuple[TopicPartition, int]:
    return polled.assignment.partition, polled.record.offset
