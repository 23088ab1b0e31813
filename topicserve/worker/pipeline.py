"""The life of a batch, and the loop that feeds batches.

    poll -> decode -> batch -> predict -> join -> publish -> acknowledge -> commit

One thread polls: it alone talks to the consumer, and never waits for inference. Batch threads
process batches, one more of them than `batching.predict_threads`, so that one batch is encoded
while the next is predicted. Outcomes of a partition are published in the order of its records.
"""

import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from topicserve.backends.broker import Consumer
from topicserve.worker.config.schema import WorkerConfig
from topicserve.worker.delivery.delivery import Delivery
from topicserve.worker.delivery.topic_limit import KnownRefusals
from topicserve.worker.health.breaker import Breaker
from topicserve.worker.health.stall_detector import StallDetector
from topicserve.worker.offsets.assignment import PartitionAssignment
from topicserve.worker.offsets.rebalance import Rebalance
from topicserve.worker.offsets.tracker import OffsetTracker
from topicserve.worker.quarantine.quarantine import PredictTimeoutError, Quarantine
from topicserve.worker.quarantine.watch import PredictWatch
from topicserve.worker.runtime.fatal_error import FatalError
from topicserve.worker.runtime.retry import ShutdownRequestedError
from topicserve.worker.runtime.unavailable_servables import UnavailableServables
from topicserve.worker.stages.batch import Batcher
from topicserve.worker.stages.calls.calls import ServableUnavailableError
from topicserve.worker.stages.consume import FlowControl
from topicserve.worker.stages.decode import Decoder
from topicserve.worker.stages.join import Joiner
from topicserve.worker.stages.predict import Predictor
from topicserve.worker.stages.publish import Encoder
from topicserve.worker.stages.publish_order import PublishOrder
from topicserve.worker.stages.request import Batch
from topicserve.worker.stages.shadow import Shadow
from topicserve.worker.telemetry.event_log import DeadLetterLog
from topicserve.worker.telemetry.logging import log_event
from topicserve.worker.telemetry.metrics import WorkerMetrics

# Long enough that a kafka-python consumer gets to join its group; records end it at once.
POLL_SECONDS = 0.1
MAX_POLL_RECORDS = 2048
# How often a thread that waits for acknowledgements looks whether the worker has failed.
ROOM_SECONDS = 1.0
# A prediction is slow when it has taken this long.
SLOW_PREDICT_SECONDS = 5.0
# How long a lane rests whose servable is not available: a look-up costs next to nothing.
REQUEUE_SECONDS = 0.1


@dataclass(slots=True)
class Stages:
    """The worker's stages, in the order in which a record meets them."""

    consumer: Consumer
    tracker: OffsetTracker
    rebalance: Rebalance
    flow: FlowControl
    decoder: Decoder
    batcher: Batcher
    predictor: Predictor
    joiner: Joiner
    encoder: Encoder
    known_refusals: KnownRefusals
    delivery: Delivery
    breaker: Breaker
    stall_detector: StallDetector
    fatal: FatalError
    unavailable: UnavailableServables
    dead_letters: DeadLetterLog
    quarantine: Quarantine
    watch: PredictWatch
    shadow: Shadow | None = None
    draining: bool = False


class Pipeline:
    """Runs the stages; `run` belongs to one thread."""

    def __init__(
        self,
        stages: Stages,
        config: WorkerConfig,
        metrics: WorkerMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stages = stages
        self._config = config
        self._metrics = metrics
        self._clock = clock
        self._order = PublishOrder()

    def run(self, stop: Callable[[], bool]) -> None:
        """Serve until asked to stop, then finish what is in progress. Raises what made it fail."""
        threads = self._start_batch_threads()
        self._stages.consumer.subscribe(self._config.topics.input, self._stages.rebalance)
        while not stop() and self._stages.fatal.error is None:
            self._poll()
        if self._stages.fatal.error is None:
            self._finish(threads)
        elif isinstance(self._stages.fatal.error, PredictTimeoutError):
            self._note_clean_stop()
        if self._stages.fatal.error is not None:
            raise self._stages.fatal.error

    def _poll(self) -> None:
        stages = self._stages
        stages.flow.regulate(stages.breaker.open)
        wanted = min(stages.flow.room(), stages.batcher.wait_for_room(POLL_SECONDS))
        records = stages.consumer.poll(POLL_SECONDS, min(wanted, MAX_POLL_RECORDS))
        if records:
            assignments = stages.tracker.track(records)
            stages.quarantine.open(records)
            requests, rejections = stages.decoder.decode(records, assignments, self._clock())
            stages.flow.admit(records, requests, rejections)
            epoch = stages.delivery.admit(len(requests) + len(rejections))
            free, given_up = stages.quarantine.hold(requests, epoch)
            stages.batcher.add(free, [*rejections, *given_up], epoch)
        stages.quarantine.step()
        self._check_predict_timeout()
        stages.delivery.tick(idle=not records)
        stages.flow.observe()
        stages.dead_letters.tick()
        stages.stall_detector.note(is_paused=stages.breaker.open)

    def serve(self, batch: Batch) -> None:
        """Process one batch; the delivery callback completes it."""
        stages = self._stages
        # The store answers while the model works. A batch that came back may do so again: giving
        # up an answer costs a connection.
        ask = stages.joiner.later if batch.returns_before else stages.joiner.start
        fetch = ask(batch.requests)
        try:
            with stages.watch.predicting(batch):
                predicted = stages.predictor.predict(batch)  # one handle, one version
        except ServableUnavailableError as error:
            fetch.cancel()
            self._requeue(batch, str(error))
            return
        if batch.route.is_suspect:
            stages.quarantine.survived(batch)
        stages.unavailable.clear(batch.route)
        joined = stages.joiner.finish(predicted.answered(), fetch)
        rejections = [*batch.rejections, *predicted.rejections, *joined.rejections]
        outgoing = stages.encoder.encode(predicted, joined.metadata, rejections)
        stages.batcher.note_results(batch, outgoing.measure())
        outgoing = stages.known_refusals.replace(outgoing)
        stages.tracker.count_outcomes(outgoing.counted_bytes)
        if stages.shadow is not None:
            stages.shadow.offer(predicted)
        # Publishing may wait: the outputs and the metadata are in the results by now.
        del predicted, joined

        def settle(assignments: Collection[PartitionAssignment] | None) -> None:
            share = outgoing.share_of(assignments)
            again = [
                one
                for one in outgoing.again
                if assignments is None or one.assignment in assignments
            ]
            if stages.batcher.is_stale(batch):
                stages.tracker.count_outcomes(-share.counted_bytes)
                stages.batcher.requeue(batch.share_of(assignments), 0)
                return
            if again:
                stages.batcher.add_again(again, batch.epoch)
            refused = [
                one
                for one in rejections
                if assignments is None or one.polled.assignment in assignments
            ]
            if stages.breaker.admit(len(share.polled), refused):
                stages.delivery.publish(batch.epoch, share)
            else:  # held back: the records stay in the tracker, uncommitted
                stages.tracker.count_outcomes(-share.counted_bytes)

        self._order.settle(batch, settle)

    def _requeue(self, batch: Batch, problem: str) -> None:
        stages = self._stages
        self._metrics.retries.labels("predict").inc()
        stages.unavailable.note(batch.route, problem)

        def settle(assignments: Collection[PartitionAssignment] | None) -> None:
            share = batch.share_of(assignments)
            if batch.route.is_suspect:
                stages.quarantine.requeue(share)
            else:
                stages.batcher.requeue(share, REQUEUE_SECONDS)

        self._order.settle(batch, settle)

    def _check_predict_timeout(self) -> None:
        """Pause what waits behind a slow prediction; end the worker for one that hangs."""
        stages, timeout = self._stages, self._config.delivery.predict_timeout_seconds
        slow = stages.watch.running_for(min(timeout or SLOW_PREDICT_SECONDS, SLOW_PREDICT_SECONDS))
        # What is polled of their partitions would only wait, and leave no room for others'.
        behind = {request.assignment.partition for batch in slow for request in batch.requests}
        stages.flow.hold(behind.union(stages.quarantine.full()))
        hanging = stages.watch.running_for(timeout) if slow and timeout else []
        if hanging and stages.fatal.error is None:
            for batch in hanging:
                stages.quarantine.timed_out(batch)
            self._metrics.predict_timeouts.inc(len(hanging))
            stages.fatal.report(
                PredictTimeoutError(
                    f"a prediction of {hanging[0].route.servable!r} has not returned for more than "
                    f"{timeout:g} s (delivery.predict_timeout_seconds); its records are noted"
                )
            )

    def _start_batch_threads(self) -> list[threading.Thread]:
        count = self._config.batching.predict_threads + 1
        threads = [
            threading.Thread(
                target=self._process_batches,
                name=f"topicserve-batch-{number}",
                daemon=True,
            )
            for number in range(count)
        ]
        for thread in threads:
            thread.start()
        return threads

    def _process_batches(self) -> None:
        stages = self._stages
        try:
            while (batch := self._take()) is not None:
                self.serve(batch)
        except ShutdownRequestedError:
            return
        except BaseException as error:
            stages.fatal.report(error)

    def _take(self) -> Batch | None:
        """Take a batch, once what was answered before has gone far enough."""
        stages = self._stages
        while not stages.delivery.wait_for_room(ROOM_SECONDS):
            if stages.fatal.error is not None:
                return None
        return stages.batcher.take()

    def _finish(self, threads: Sequence[threading.Thread]) -> None:
        is_paused = self._stages.breaker.open
        # What an open breaker holds back is never finished.
        seconds = 0.0 if is_paused else self._config.delivery.shutdown_seconds
        deadline = self._clock() + seconds
        self._stages.draining = True
        self._stages.batcher.close()
        finished = self._stages.delivery.finish(seconds)
        left = self._stages.tracker.in_flight_records
        self._note_clean_stop()
        if not finished and left:
            self._metrics.abandoned_records.labels("shutdown").inc(left)
            log_event("left_uncommitted" if is_paused else "shutdown_timed_out", records=left)
        for thread in threads:
            thread.join(max(deadline - self._clock(), 0) if finished else 0)

    def _note_clean_stop(self) -> None:
        """Tell whichever replica comes next that this one has ended in order.

        Not of partitions with records that are still being predicted: these may have hung.
        """
        stages = self._stages
        stages.tracker.pass_to(stages.consumer.stats().positions)
        running = stages.watch.running_for(0)
        unfinished = {
            request.assignment.partition for batch in running for request in batch.requests
        }
        stages.quarantine.note_clean_stop(set(stages.tracker.partitions()) - unfinished)
        stages.delivery.commit_notes()
