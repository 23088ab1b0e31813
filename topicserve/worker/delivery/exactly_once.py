"""Exactly once: outcomes and offsets in one Kafka transaction with the group's metadata (KIP-447).

Records polled belong to an epoch. Every so often the epoch gathering is closed, at the positions
that the partitions had then; when the last of its records has its outcome, a transaction is opened,
all outcomes are sent, and they are committed together with those positions. So a transaction never
holds a gap, never waits for a model or a store, and its fixed cost is paid once for many batches;
the next epoch's are predicted meanwhile. A worker that is killed leaves no transaction open for
long, which would keep others from reading the group's offsets.

When a transaction cannot be committed, or holds records of partitions that were lost, it is
aborted, and everything since the last commit is read and done again. So is one that the broker does
not end in time: whether it committed after all is then for the group's offsets to tell.
"""

import threading
from collections.abc import Iterator, Sequence
from typing import Any

from topicserve.backends.broker import Offsets
from topicserve.backends.errors import (
    BackendError,
    BackendUnavailableError,
    CommitRefusedError,
    RecordTooLargeError,
    TransactionAbortedError,
)
from topicserve.wire.dead_letter import Reason
from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.backoff import AbandonedError
from topicserve.worker.delivery.delivery import Surroundings
from topicserve.worker.logging import log_event
from topicserve.worker.publish import Outgoing

# A transaction is given up when so much of its time (`transaction.timeout.ms`) is over, before the
# broker does so by itself: that would fence this producer, as if another had taken its place.
GIVEN_UP_AFTER = 0.8
# An epoch is closed early with this share of what may be in flight. A transaction takes some 100 ms
# whatever is in it, so the rest must last for longer, or polling stands still meanwhile.
ENOUGH_SHARE = 0.25
ABORT_TIMEOUT_SECONDS = 30.0
# What a record may fail with because of its transaction: kafka-python gives the transaction's own
# error to all that was not sent, such as a rebalance that refused the offsets.
_DOOMING = (BackendUnavailableError, TransactionAbortedError, CommitRefusedError)


class _Epoch:
    """Records polled between two cuts, and the transaction that their outcomes go into."""

    def __init__(self) -> None:
        self.records = 0
        self.unfinished = 0
        self.outcomes: list[Outgoing] = []
        self.cut: Offsets | None = None
        self.give_up_at = 0.0
        self.group_metadata: Any = None
        self.open = False
        self.aborted = False
        self.in_doubt = False
        """Whether it may be committed already, although nobody said so."""


class ExactlyOnce:
    """Commits an epoch's outcomes and offsets in one transaction."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._consumer = around.consumer
        self._producer = around.producer
        self._ledger = around.ledger
        self._batcher = around.batcher
        self._encoder = around.encoder
        self._config = around.config
        # The rest of what may be in flight is polled and predicted while this much is committed.
        self._enough_records = around.max_in_flight_records * ENOUGH_SHARE
        self._commit_timeout_seconds = around.transaction_timeout_seconds * GIVEN_UP_AFTER
        self._patience = around.patience
        self._metrics = around.metrics
        self._clock = around.clock
        self._acknowledged = around.acknowledged
        self._failure = around.failure
        self._cut_at = self._clock() + self._config.commit_interval_seconds
        # Guards all that follows. The transaction itself (begin, send, commit, abort) belongs to
        # whoever holds `_transaction`, which is taken before this one, never after.
        self._changed = threading.Condition()
        self._transaction = threading.Lock()
        self._epochs: dict[int, _Epoch] = {0: _Epoch()}
        self._publishing = 0
        self._gathering = 0
        self._doomed: str | None = None
        self._too_large: dict[tuple[TopicPartition, int], RecordTooLargeError] = {}
        self._closed = False
        self._thread = threading.Thread(
            target=self._commit_epochs, name="topicserve-transactions", daemon=True
        )

    def start(self, timeout_seconds: float) -> None:
        """Take the transactional id over, fencing its last user, and begin to commit."""
        self._producer.init_transactions(timeout_seconds)
        self._thread.start()

    @property
    def gathering(self) -> int:
        return self._gathering

    @property
    def publishing(self) -> int:
        return self._publishing

    def admit(self, records: int) -> None:
        with self._changed:
            self._epochs[self._gathering].records += records
            self._epochs[self._gathering].unfinished += records

    def publish(self, epoch: int, outgoing: Outgoing) -> None:
        with self._changed:
            if self._closed:
                raise AbandonedError
            found = self._epochs.get(epoch)
            # An epoch that is no longer there was begun anew: all of its slots are closed.
            if found is not None:
                found.outcomes.append(outgoing)
                found.unfinished -= len(outgoing.polled)
                self._changed.notify_all()
                return
        self._ledger.finish(outgoing.polled)

    def tick(self) -> None:
        if self._doomed is not None:
            self._rewind()
        elif (
            self._clock() >= self._cut_at
            or self._epochs[self._gathering].records >= self._enough_records
        ):
            self._cut()

    def revoke(self, partitions: Sequence[TopicPartition]) -> Offsets:
        if self._ledger.wait_finished(partitions, 0) or self._finish_epochs(
            self._around.drain_seconds
        ):
            self._ledger.release(partitions)
        else:
            self._doom(f"{len(partitions)} partitions were revoked before they were finished")
            self._ledger.release(partitions)
        return {}  # the transaction commits the offsets

    def lose(self, partitions: Sequence[TopicPartition]) -> None:
        if not self._ledger.wait_finished(partitions, 0):
            self._doom(f"{len(partitions)} partitions were lost")
        self._ledger.release(partitions)

    def wait_doomed(self, timeout_seconds: float) -> bool:
        """Wait until the transaction cannot be committed any more; False if the time ran out."""
        with self._changed:
            return self._changed.wait_for(lambda: self._doomed is not None, timeout_seconds)

    def finish(self, timeout_seconds: float) -> bool:
        return self._finish_epochs(timeout_seconds)

    def close(self, timeout_seconds: float) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)
        with self._transaction:
            epoch = self._epochs[self._publishing]
            epoch.aborted = True
            # Not waited for: a transaction that nobody ends is aborted by the broker in time.
            if epoch.open:
                self._abort_once(timeout_seconds)
        self._producer.close(timeout_seconds)

    def _finish_epochs(self, timeout_seconds: float) -> bool:
        """Close the epoch gathering and wait until all is committed, or doomed, or time is up."""
        deadline = self._clock() + timeout_seconds
        while self._ledger.in_flight_records and self._doomed is None:
            self._cut()
            if not self._wait_past(self._publishing, deadline - self._clock()):
                return False
        return self._doomed is None

    def _wait_past(self, epoch: int, timeout_seconds: float) -> bool:
        """Wait until an epoch is committed or doomed; False if the time ran out first."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._publishing > epoch or self._doomed is not None,
                max(timeout_seconds, 0),
            )

    def _cut(self) -> None:
        """Close the epoch gathering, unless the one before is still being committed."""
        self._cut_at = self._clock() + self._config.commit_interval_seconds
        with self._changed:
            epoch = self._epochs[self._gathering]
            if self._gathering != self._publishing or not epoch.records:
                return
            epoch.cut = self._ledger.positions()
            epoch.group_metadata = self._consumer.group_metadata()
            self._gathering += 1
            self._epochs[self._gathering] = _Epoch()
            self._changed.notify_all()

    def _send(self, epoch: _Epoch, outgoing: Outgoing) -> None:
        for attempt in self._tries_to_commit(epoch):
            if attempt:
                self._metrics.retries.labels("publish").inc()
            try:
                self._producer.send(
                    outgoing.records,
                    lambda errors: self._delivered(epoch, outgoing, errors),
                    max(epoch.give_up_at - self._clock(), 0),
                )
            except BackendUnavailableError as error:
                log_event("publish_waits", problem=str(error))
            else:
                return

    def _delivered(
        self, epoch: _Epoch, outgoing: Outgoing, errors: Sequence[BackendError | None]
    ) -> None:
        """Doom the transaction where a record did not get into it. Runs on the delivery thread."""
        if epoch.aborted or not any(errors):
            return  # what an abort throws away is reported as failed, too
        for polled, error, reason in zip(outgoing.polled, errors, outgoing.reasons, strict=True):
            if isinstance(error, RecordTooLargeError) and reason is None:
                self._too_large[polled.slot.partition, polled.record.offset] = error
                self._doom("a result is too large")
            elif isinstance(error, _DOOMING):
                self._doom(str(error))
            elif error is not None:
                self._failure.report(error)
                self._doom(str(error))

    def _with_refused(self, outgoing: Outgoing) -> Outgoing:
        """Put dead letters in place of results that the broker refused the time before."""
        if not self._too_large:
            return outgoing
        for index, polled in enumerate(outgoing.polled):
            error = self._too_large.pop((polled.slot.partition, polled.record.offset), None)
            if error is not None:
                outgoing.records[index] = self._encoder.too_large(polled, error)
                outgoing.reasons[index] = Reason.RESULT_TOO_LARGE
        return outgoing

    def _doom(self, why: str) -> None:
        with self._changed:
            if self._doomed is None:
                self._doomed = why
                log_event("transaction_doomed", why=why)
            self._changed.notify_all()

    def _commit_epochs(self) -> None:
        try:
            while self._wait_for_epoch():
                with self._transaction, self._metrics.commit_seconds.time():
                    self._commit_epoch()
        except AbandonedError:
            return
        except BaseException as error:
            self._failure.report(error)

    def _wait_for_epoch(self) -> bool:
        """Wait for an epoch that is closed and all predicted; False when there will be none."""

        def complete() -> bool:
            epoch = self._epochs[self._publishing]
            return self._doomed is None and epoch.cut is not None and epoch.unfinished == 0

        with self._changed:
            self._changed.wait_for(lambda: self._closed or complete())
            return not self._closed

    def _commit_epoch(self) -> None:
        epoch = self._epochs[self._publishing]
        if self._doomed is not None or epoch.cut is None:
            return
        wanted = self._still_wanted(epoch)
        try:
            self._producer.begin_transaction()
            epoch.open = True
            epoch.give_up_at = self._clock() + self._commit_timeout_seconds
            for outgoing in wanted:
                self._send(epoch, outgoing)
            self._commit(epoch, epoch.cut)
        except (TransactionAbortedError, CommitRefusedError) as error:
            self._doom(str(error))
            return
        self._committed(epoch, epoch.cut)

    def _committed(self, epoch: _Epoch, offsets: Offsets) -> None:
        """Count an epoch as done, and go on to the next."""
        self._metrics.transactions.labels("committed").inc()
        self._metrics.commits.labels("committed").inc()
        self._ledger.committed(offsets)
        for outgoing in epoch.outcomes:
            self._ledger.finish(outgoing.polled)
            outgoing.count(self._metrics)
            self._acknowledged(outgoing)
        self._next_epoch()

    def _still_wanted(self, epoch: _Epoch) -> list[Outgoing]:
        """Return an epoch's outcomes without those of partitions that went meanwhile."""
        wanted = []
        for outgoing in epoch.outcomes:
            kept, dropped = outgoing.without_closed()
            self._ledger.finish(dropped)
            if kept.polled:
                wanted.append(self._with_refused(kept))
        epoch.outcomes = wanted
        return wanted

    def _commit(self, epoch: _Epoch, offsets: Offsets) -> None:
        """Commit, asking again while nobody answers: asking twice commits once."""
        offsets_sent = False
        for attempt in self._tries_to_commit(epoch):
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
                epoch.open = False
                return

    def _tries_to_commit(self, epoch: _Epoch) -> Iterator[int]:
        """Yield tries with pauses between; raise TransactionAbortedError if it has no future."""
        for attempt in self._patience.tries():
            if self._doomed is not None:
                raise TransactionAbortedError(self._doomed)
            if self._clock() >= epoch.give_up_at:
                raise TransactionAbortedError(
                    f"the transaction was not committed in {self._commit_timeout_seconds:.1f} s"
                )
            yield attempt

    def _next_epoch(self) -> None:
        with self._changed:
            del self._epochs[self._publishing]
            self._publishing += 1
            self._changed.notify_all()

    def _abort(self) -> None:
        for attempt in self._patience.tries():
            if attempt:
                self._metrics.retries.labels("transaction").inc()
            try:
                self._producer.abort_transaction(ABORT_TIMEOUT_SECONDS)
            except BackendUnavailableError as error:
                log_event("abort_waits", problem=str(error))
            else:
                return

    def _abort_once(self, timeout_seconds: float) -> None:
        try:
            self._producer.abort_transaction(timeout_seconds)
        except BackendError as error:
            log_event("abort_failed", problem=str(error))

    def _end_transaction(self, epoch: _Epoch) -> None:
        """Abort, unless the commit in doubt turns out to be done."""
        self._abort()
        if epoch.in_doubt and epoch.cut is not None and self._is_committed(epoch, epoch.cut):
            log_event("commit_found")
            self._committed(epoch, epoch.cut)
        else:
            self._metrics.transactions.labels("aborted").inc()

    def _is_committed(self, epoch: _Epoch, cut: Offsets) -> bool:
        """Ask the group: a transaction's offsets are there all, or none is."""
        # A partition that went meanwhile may be committed by somebody else, and one without records
        # in this transaction stood where it stands before.
        slots = {polled.slot for outgoing in epoch.outcomes for polled in outgoing.polled}
        expected = {slot.partition: cut[slot.partition] for slot in slots if not slot.closed}
        if not expected:
            return False
        for _ in self._patience.tries():
            try:
                found = self._consumer.committed(list(expected), ABORT_TIMEOUT_SECONDS)
            except BackendUnavailableError as error:
                log_event("commit_in_doubt", problem=str(error))
            else:
                return found == expected
        raise AssertionError("patience does not run out")

    def _rewind(self) -> None:
        """Abort, and read everything since the last commit again. Runs on the polling thread."""
        with self._transaction:
            for epoch in self._epochs.values():
                epoch.aborted = True
            if any(epoch.open for epoch in self._epochs.values()):
                self._end_transaction(self._epochs[self._publishing])
            redone = self._ledger.in_flight_records
            offsets = self._ledger.restart()
            self._ledger.finish(self._batcher.drop_closed())
            for epoch in self._epochs.values():
                for outgoing in epoch.outcomes:
                    self._ledger.finish(outgoing.polled)  # gives their bytes back
            with self._changed:
                self._gathering += 1
                self._publishing = self._gathering
                self._epochs = {self._gathering: _Epoch()}
                log_event("rewound", why=self._doomed, records=redone)
                self._doomed = None
                self._changed.notify_all()
        self._consumer.seek(offsets)
        self._metrics.redeliveries.labels("transaction_aborted").inc(redone)
