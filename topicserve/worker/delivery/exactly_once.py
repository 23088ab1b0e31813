"""Exactly once: outcomes and offsets in one Kafka transaction with the group's metadata (KIP-447).

Records polled belong to an epoch. Every so often, and when nothing more comes, the open epoch
is closed at the positions that the partitions had then; when the last of its records has its
outcome, a transaction is opened, all outcomes are sent, and they are committed together with those
positions. So a transaction never holds a gap, never waits for a model or a store, and its fixed
cost is paid once for many batches; the next epoch's are predicted meanwhile. A worker that is
killed leaves no transaction open for long, which would keep others from reading the group's
offsets.

When a transaction cannot be committed, or holds records of partitions that were lost, it is
aborted, and everything since the last commit is read and done again. So is one that the broker does
not end in time: whether it committed after all is then for the group's offsets to tell.
"""

import threading
from collections.abc import Sequence

from topicserve.backends.broker import Offsets
from topicserve.backends.errors import (
    BackendUnavailableError,
    CommitRefusedError,
    TransactionAbortedError,
)
from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.delivery.delivery import Delivery, DeliveryContext
from topicserve.worker.delivery.epochs import Epoch, Epochs
from topicserve.worker.delivery.transactions import Transactions
from topicserve.worker.runtime.retry import ShutdownRequestedError
from topicserve.worker.stages.publish import OutgoingBatch
from topicserve.worker.telemetry.logging import log_event

# An epoch is closed early with this share of what may be in flight. A transaction takes some 100 ms
# whatever is in it, so the rest must last for longer, or polling stands still meanwhile.
ENOUGH_SHARE = 0.25
COMMIT_TIMEOUT_SECONDS = 5.0
# How long nothing must have come before positions alone are committed, and how often at most.
POSITIONS_SECONDS = 2.0


class ExactlyOnce(Delivery):
    """Commits an epoch's outcomes and offsets in one transaction.

    Three threads share it. Batch threads add outcomes to epochs, whose condition guards them; the
    polling thread seals, rewinds and commits notes; `topicserve-transactions` writes. The
    transaction's lock is held by whichever of the last two uses the broker for it, and may be held
    for seconds.
    """

    def __init__(self, context: DeliveryContext) -> None:
        environment = context.environment
        batching = environment.config.batching
        self._context = context
        self._consumer = context.consumer
        self._producer = context.producer
        self._tracker = context.tracker
        self._batcher = context.batcher
        self._config = environment.config.delivery
        self._metrics = environment.metrics
        self._clock = environment.clock
        self._fatal = environment.fatal
        # The rest of what may be in flight is polled and predicted while this much is committed.
        self._enough_records = batching.max_in_flight_records * ENOUGH_SHARE
        self._enough_bytes = batching.max_in_flight_bytes * ENOUGH_SHARE
        self._seal_at = self._clock() + self._config.commit_interval_seconds
        self._positions_at = self._clock() + POSITIONS_SECONDS
        self._epochs = Epochs()
        self._transactions = Transactions(context, self._epochs)
        # Held by the thread that begins, fills or ends a transaction, or commits notes.
        self._transaction = threading.Lock()
        self._notes_settled = threading.Event()
        self._notes_settled.set()
        # Whose notes are in a commit that was not answered; used with the transaction's lock held.
        self._in_doubt: set[TopicPartition] = set()
        self._thread = threading.Thread(
            target=self._commit_epochs, name="topicserve-transactions", daemon=True
        )

    def start(self, timeout_seconds: float) -> None:
        """Take the transactional id over, fencing its last user, and begin to commit."""
        self._producer.init_transactions(timeout_seconds)
        self._thread.start()

    def admit(self, records: int) -> int:
        return self._epochs.admit(records)

    def publish(self, epoch: int, outgoing: OutgoingBatch) -> None:
        try:
            is_added = self._epochs.add(epoch, outgoing)
        except ShutdownRequestedError:
            self._tracker.count_outcomes(-outgoing.counted_bytes)
            raise
        if not is_added:
            # It was reset: all of its assignments are closed.
            self._tracker.finish(outgoing.polled, outgoing.counted_bytes)

    def wait_for_room(self, timeout_seconds: float) -> bool:  # noqa: ARG002
        return True  # an epoch is committed when all of its batches are done: none may wait

    def tick(self, *, idle: bool = False) -> None:
        if not self._notes_settled.is_set():
            self.commit_notes()
        if self._epochs.abort_reason is not None:
            self._rewind()
        elif (
            # Results do not wait for records that do not come.
            idle
            or self._clock() >= self._seal_at
            or self._epochs.open_records() >= self._enough_records
            or self._tracker.outcome_bytes >= self._enough_bytes
        ):
            self._seal()
        if idle:
            self._seal_positions()
        else:
            self._positions_at = self._clock() + POSITIONS_SECONDS

    def commit_notes(self) -> bool:
        # Not beside a transaction: this commits the offsets that were committed before it.
        if not self._transaction.acquire(timeout=COMMIT_TIMEOUT_SECONDS):
            return False
        try:
            if self._epochs.abort_reason is not None:
                return False
            return self._commit_notes(self._tracker.commits.committable_notes(self._in_doubt))
        finally:
            self._transaction.release()

    def _commit_notes(self, offsets: Offsets) -> bool:
        """Commit outside a transaction; False, and no transaction goes on, while that is in doubt.

        A commit that was not answered may still come to the broker. Behind a transaction's it would
        take the group's offsets back, and have records answered twice. So its partitions are
        committed again, also where the notes are the old ones by now; those that were released are
        not: the group refuses the commits of members from before the rebalance.
        """
        if not offsets:
            self._settle_notes()
            return True
        try:
            self._consumer.commit(offsets, COMMIT_TIMEOUT_SECONDS)
        except CommitRefusedError as error:
            # The group has moved on, and refuses that commit whenever it comes.
            self._settle_notes()
            log_event("commit_failed", problem=str(error))
            return False
        except BackendUnavailableError as error:
            self._in_doubt.update(offsets)
            self._notes_settled.clear()
            log_event("commit_failed", problem=str(error))
            return False
        self._settle_notes()
        self._tracker.commits.committed(offsets)
        return True

    def _settle_notes(self) -> None:
        self._in_doubt.clear()
        self._notes_settled.set()

    def revoke(self, partitions: Sequence[TopicPartition]) -> Offsets:
        if not (
            self._tracker.wait_finished(partitions, 0)
            or self.finish(self._context.drain_timeout_seconds)
        ):
            self._epochs.mark_aborted(
                f"{len(partitions)} partitions were revoked before they were finished"
            )
            self._tracker.release(partitions)
            return {}
        # The transaction has committed the offsets, so this is about their notes alone.
        return self._tracker.release(partitions)

    def lose(self, partitions: Sequence[TopicPartition]) -> None:
        if not self._tracker.wait_finished(partitions, 0):
            self._epochs.mark_aborted(f"{len(partitions)} partitions were lost")
        self._tracker.release(partitions)

    def finish(self, timeout_seconds: float) -> bool:
        deadline = self._clock() + timeout_seconds
        while self._tracker.in_flight_records and self._epochs.abort_reason is None:
            # Looked at first: where this epoch's commit ends after `_seal` found it in progress,
            # the next one is still open, and would never be committed.
            committing = self._epochs.committing_epoch
            self._seal()
            if not self._epochs.wait_committed(committing, deadline - self._clock()):
                return False
        return self._epochs.abort_reason is None

    def close(self, timeout_seconds: float) -> None:
        self._epochs.close()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)
        with self._transaction:
            self._epochs.abort()
            if self._epochs.current.open:
                self._transactions.abort_once(timeout_seconds)
        self._producer.close(timeout_seconds)

    def _seal(self) -> None:
        """Seal the open epoch, unless it is empty or the one before is being committed."""
        if self._epochs.may_seal():
            self._seal_at = self._clock() + self._config.commit_interval_seconds
            self._epochs.seal(self._tracker.commits.cut(), self._consumer.group_metadata())

    def _seal_positions(self) -> None:
        """Commit positions that moved past markers and aborted records alone, once at rest.

        It writes a marker to the group's offsets and to no other topic: it does not feed itself.
        """
        if self._clock() < self._positions_at or not self._epochs.may_seal(empty=True):
            return
        cut = self._tracker.commits.cut_committable()
        if cut and not self._tracker.in_flight_records:
            self._positions_at = self._clock() + POSITIONS_SECONDS
            self._epochs.seal(cut, self._consumer.group_metadata())

    def _commit_epochs(self) -> None:
        try:
            while self._epochs.wait_complete() and self._wait_for_notes():
                with self._transaction, self._metrics.commit_seconds.time():
                    self._commit(self._epochs.current)
        except ShutdownRequestedError:
            return
        except BaseException as error:
            self._fatal.report(error)

    def _commit(self, epoch: Epoch) -> None:
        """Write an epoch, unless it must be aborted or was reset before its turn came."""
        if self._epochs.abort_reason is not None or epoch.end is None:
            return
        if not self._notes_settled.is_set():
            return  # a commit of notes went wrong since it was asked
        self._drop_revoked(epoch)
        # The notes of the cut may be out of date, and so may offsets: of another log by now.
        offsets = self._tracker.commits.with_notes(epoch.end)
        try:
            self._transactions.write(epoch, offsets)
        except (TransactionAbortedError, CommitRefusedError) as error:
            self._epochs.mark_aborted(str(error))
        else:
            self._committed(epoch, offsets)

    def _wait_for_notes(self) -> bool:
        """Wait until no commit of notes is in doubt; the polling thread commits them again."""
        while not self._notes_settled.wait(1.0):
            if self._epochs.closed:
                return False
        return True

    def _drop_revoked(self, epoch: Epoch) -> None:
        """Leave out an epoch's outcomes of partitions that went meanwhile."""
        wanted = []
        for outgoing in epoch.outcomes:
            kept, dropped = outgoing.without_revoked()
            self._tracker.finish(dropped.polled, dropped.counted_bytes)
            if kept.polled:
                wanted.append(kept)
        epoch.outcomes = wanted

    def _committed(self, epoch: Epoch, offsets: Offsets) -> None:
        """Count an epoch as done, and go on to the next."""
        self._metrics.transactions.labels("committed").inc()
        self._metrics.commits.labels("committed").inc()
        self._tracker.commits.committed(offsets, epoch.end)
        for outgoing in epoch.outcomes:
            self._context.acknowledged(outgoing)  # first: what is finished has been counted
            self._tracker.finish(outgoing.polled, outgoing.counted_bytes)
        self._epochs.committed()

    def _rewind(self) -> None:
        """Abort, and read everything since the last commit again. Runs on the polling thread."""
        with self._transaction:
            why = self._epochs.abort_reason
            self._epochs.abort()
            self._end_transaction(self._epochs.current)
            redone = self._tracker.in_flight_records
            offsets = self._tracker.restart()
            self._tracker.finish(self._batcher.drop_revoked())
            for outgoing in self._epochs.reset():
                self._tracker.finish(
                    outgoing.polled, outgoing.counted_bytes
                )  # gives their bytes back
        log_event("rewound", why=why, records=redone)
        self._consumer.seek(offsets)
        self._metrics.redeliveries.inc(redone)

    def _end_transaction(self, epoch: Epoch) -> None:
        """Abort the epoch's transaction, if it is open, unless it was committed after all."""
        if epoch.open and self._transactions.end(epoch) and epoch.end is not None:
            self._committed(epoch, self._tracker.commits.with_notes(epoch.end))
