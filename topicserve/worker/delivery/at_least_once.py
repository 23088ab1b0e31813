"""At least once: an offset is committed after its outcome is acknowledged, never past a gap."""

import threading
from collections import deque
from collections.abc import Callable, Sequence

from topicserve.backends.broker import Offsets
from topicserve.backends.errors import (
    BackendError,
    BackendUnavailableError,
    CommitRefusedError,
    RecordRefusedError,
)
from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.delivery.delivery import Delivery, DeliveryContext
from topicserve.worker.runtime.fatal_error import FatalError
from topicserve.worker.runtime.retry import ShutdownRequestedError
from topicserve.worker.stages.publish import OutgoingBatch
from topicserve.worker.stages.request import Request
from topicserve.worker.telemetry.logging import log_event

COMMIT_TIMEOUT_SECONDS = 5.0
# Outcomes are published one batch at a time, so all records belong to one epoch.
_EPOCH = 0


class AtLeastOnce(Delivery):
    """Sends outcomes as they come, and again where the broker did not acknowledge them."""

    def __init__(self, context: DeliveryContext) -> None:
        environment = context.environment
        self._context = context
        self._consumer = context.consumer
        self._producer = context.producer
        self._tracker = context.tracker
        self._refusals = context.refusals
        self._config = environment.config
        self._retry_loop = environment.retry_loop
        self._metrics = environment.metrics
        self._clock = environment.clock
        self._fatal = environment.fatal
        self._commit_at = self._clock() + self._config.delivery.commit_interval_seconds
        self._resender = _Resender(self._send, self._fatal)

    def admit(self, records: int) -> int:  # noqa: ARG002 - the tracker counts them
        return _EPOCH

    def publish(self, epoch: int, outgoing: OutgoingBatch) -> None:  # noqa: ARG002
        outgoing, dropped = outgoing.without_revoked()
        self._tracker.finish(dropped.polled, dropped.counted_bytes)
        if outgoing.polled:
            self._send(outgoing)

    def wait_for_room(self, timeout_seconds: float) -> bool:
        # What is counted is on its way to the broker, and needs no other batch to get there.
        return self._tracker.wait_until(
            lambda: self._tracker.outcome_bytes < self._config.batching.max_in_flight_bytes,
            timeout_seconds,
        )

    def tick(self, *, idle: bool = False) -> None:  # noqa: ARG002 - results are out already
        if self._clock() >= self._commit_at:
            self._commit()

    def commit_notes(self) -> bool:
        return self._commit()

    def revoke(self, partitions: Sequence[TopicPartition]) -> Offsets:
        if not self._tracker.wait_finished(partitions, self._context.drain_timeout_seconds):
            log_event("drain_timed_out", partitions=len(partitions))
        return self._tracker.release(partitions)

    def lose(self, partitions: Sequence[TopicPartition]) -> None:
        self._tracker.release(partitions)

    def finish(self, timeout_seconds: float) -> bool:
        finished = self._tracker.wait_finished(self._tracker.partitions(), timeout_seconds)
        self._commit()
        return finished

    def close(self, timeout_seconds: float) -> None:
        self._resender.close()
        self._producer.close(timeout_seconds)

    def _send(self, outgoing: OutgoingBatch) -> None:
        for attempt in self._retry_loop.tries():
            if attempt:
                self._metrics.retries.labels("publish").inc()
            try:
                self._producer.send(
                    outgoing.records, lambda errors: self._delivered(outgoing, errors)
                )
            except BackendUnavailableError as error:
                log_event("publish_retry", problem=str(error))
            else:
                return

    def _delivered(self, outgoing: OutgoingBatch, errors: Sequence[BackendError | None]) -> None:
        """Settle what was acknowledged; the rest goes again. Runs on the delivery thread."""
        if not any(errors):
            self._settle(outgoing)
            return
        self._settle(outgoing.where(lambda index: errors[index] is None))
        again = outgoing.where(lambda index: errors[index] is not None)
        predicted_again = set()
        for index, error in enumerate(filter(None, errors)):
            if isinstance(error, BackendUnavailableError):
                continue  # the same again
            if not isinstance(error, RecordRefusedError):
                self._fatal.report(error)
                return
            self._refusals.note(again, index, error)
            if self._refusals.is_tried_again(again, index, error):
                predicted_again.add(index)
            elif not self._replace(again, index, error):
                self._fatal.report(error)
                return
        problem = next(str(error) for error in errors if error is not None)
        log_event("not_acknowledged", records=len(again.polled), problem=problem)
        self._metrics.failed_deliveries.inc(len(again.polled))
        if predicted_again:
            self._predict_again(again.where(lambda index: index in predicted_again))
            again = again.where(lambda index: index not in predicted_again)
        if again.polled:
            self._resender.put(again)

    def _predict_again(self, outgoing: OutgoingBatch) -> None:
        """Give records back whose results were refused."""
        self._tracker.count_outcomes(-outgoing.counted_bytes)
        requests = [one for one in outgoing.polled if isinstance(one, Request)]
        self._context.batcher.add_again(requests, _EPOCH)

    def _replace(self, outgoing: OutgoingBatch, index: int, error: RecordRefusedError) -> bool:
        """Replace a refused outcome; False if nothing can take its place."""
        found = self._refusals.replacement(outgoing, index, error)
        if found is not None:
            outgoing.records[index], outgoing.reasons[index] = found
        return found is not None

    def _settle(self, outgoing: OutgoingBatch) -> None:
        self._context.acknowledged(outgoing)  # first: what is finished has been counted
        self._tracker.finish(outgoing.polled, outgoing.counted_bytes)

    def _commit(self) -> bool:
        self._commit_at = self._clock() + self._config.delivery.commit_interval_seconds
        offsets = self._tracker.commits.committable()
        if not offsets:
            return True
        with self._metrics.commit_seconds.time():
            try:
                self._consumer.commit(offsets, COMMIT_TIMEOUT_SECONDS)
            except CommitRefusedError:
                # The group has moved on; the rebalance that follows closes these assignments.
                self._metrics.commits.labels("refused").inc()
            except BackendUnavailableError as error:
                self._metrics.commits.labels("failed").inc()
                log_event("commit_failed", problem=str(error))
            else:
                self._metrics.commits.labels("committed").inc()
                self._tracker.commits.committed(offsets)
                return True
        return False


class _Resender:
    """Sends again, on a thread of its own: the delivery thread must never wait.

    What waits here is part of what is in flight, so the tracker's bounds bound it.
    """

    def __init__(self, send: Callable[[OutgoingBatch], None], fatal: FatalError) -> None:
        self._send = send
        self._fatal = fatal
        self._changed = threading.Condition()
        self._waiting: deque[OutgoingBatch] = deque()
        self._closed = False
        self._thread: threading.Thread | None = None

    def put(self, outgoing: OutgoingBatch) -> None:
        with self._changed:
            self._waiting.append(outgoing)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="topicserve-send-again", daemon=True
                )
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                outgoing = self._waiting.popleft()
            try:
                self._send(outgoing)
            except ShutdownRequestedError:
                return
            except BaseException as error:
                self._fatal.report(error)
                return
