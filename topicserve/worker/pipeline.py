"""The life of a batch, and the loop that feeds batches.

    poll -> decode -> batch -> predict -> join -> publish -> acknowledge -> commit

One thread polls: it alone talks to the consumer, and never waits for inference. Batch threads live
batches through, one more of them than may predict at once, so that one batch is encoded while
the next is predicted. Outcomes are published in the order in which batches were cut.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from topicserve.backends.broker import Consumer
from topicserve.worker.backoff import AbandonedError
from topicserve.worker.batch import Batcher
from topicserve.worker.breaker import Breaker
from topicserve.worker.config import WorkerConfig
from topicserve.worker.consume import FlowControl
from topicserve.worker.decode import Decoder
from topicserve.worker.delivery.delivery import Delivery
from topicserve.worker.failure import Failure
from topicserve.worker.join import Joiner
from topicserve.worker.logging import log_event
from topicserve.worker.metrics import WorkerMetrics
from topicserve.worker.offsets import OffsetLedger
from topicserve.worker.predict import NotNowError, Predictor
from topicserve.worker.progress import Progress
from topicserve.worker.publish import Encoder
from topicserve.worker.rebalance import Rebalance
from topicserve.worker.request import Batch
from topicserve.worker.shadow import Shadow
from topicserve.worker.shared_core import SharedCore
from topicserve.worker.turns import Turns
from topicserve.worker.waiting import WaitingRoutes

# Long enough that a kafka-python consumer gets to join its group; records end it at once.
POLL_SECONDS = 0.1
MAX_POLL_RECORDS = 2048
# How long a lane rests whose servable is not available: a look-up costs next to nothing.
PUT_BACK_SECONDS = 0.1


@dataclass(slots=True)
class Stages:
    """The worker's stages, in the order in which a record meets them."""

    consumer: Consumer
    ledger: OffsetLedger
    rebalance: Rebalance
    flow: FlowControl
    decoder: Decoder
    batcher: Batcher
    predictor: Predictor
    joiner: Joiner
    encoder: Encoder
    delivery: Delivery
    breaker: Breaker
    progress: Progress
    failure: Failure
    waiting: WaitingRoutes
    core: SharedCore
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
        self._turns = Turns()

    def run(self, stop: Callable[[], bool]) -> None:
        """Serve until asked to stop, then finish what is under way. Raises what made it fail."""
        threads = self._start_batch_threads()
        self._stages.core.join([threading.current_thread(), *threads])
        self._stages.consumer.subscribe(self._config.topics.input, self._stages.rebalance)
        while not stop() and self._stages.failure.error is None:
            self._poll()
        if self._stages.failure.error is None:
            self._finish(threads)
        if self._stages.failure.error is not None:
            raise self._stages.failure.error

    def _poll(self) -> None:
        stages = self._stages
        stages.flow.regulate(stages.breaker.open)
        wanted = min(stages.flow.room(), stages.batcher.wait_for_room(POLL_SECONDS))
        records = stages.consumer.poll(POLL_SECONDS, min(wanted, MAX_POLL_RECORDS))
        if records:
            slots = stages.ledger.track(records)
            requests, rejections = stages.decoder.decode(records, slots, self._clock())
            stages.flow.admit(records, requests, rejections)
            stages.delivery.admit(len(requests) + len(rejections))
            stages.batcher.add(requests, rejections, stages.delivery.gathering)
        stages.delivery.tick(idle=not records)
        stages.flow.observe()
        stages.core.tick()
        stages.progress.note(is_paused=stages.breaker.open)

    def serve(self, batch: Batch) -> None:
        """Live one batch's life, up to where the broker's acknowledgement takes over."""
        stages = self._stages
        fetch = stages.joiner.start(batch.requests)  # the store answers while the model works
        try:
            predicted = stages.predictor.predict(batch)  # one handle, one version
        except NotNowError as error:
            fetch.cancel()
            self._put_back(batch, str(error))
            return
        stages.waiting.clear(batch.route)
        joined = stages.joiner.finish(predicted.answered(), fetch)
        rejections = [*batch.rejections, *predicted.rejections, *joined.rejections]
        outgoing = stages.encoder.encode(predicted, joined.metadata, rejections)
        with self._turns.turn(batch):
            if stages.batcher.overtakes(batch):
                stages.batcher.put_back(batch, 0)
            elif stages.breaker.admit(len(outgoing.polled), rejections):
                stages.delivery.publish(batch.epoch, outgoing)
            else:
                return  # held back: it stays in the ledger, uncommitted
        if stages.shadow is not None:
            stages.shadow.offer(predicted)

    def _put_back(self, batch: Batch, problem: str) -> None:
        self._metrics.retries.labels("predict").inc()
        self._stages.waiting.note(batch.route, problem)
        with self._turns.turn(batch):
            self._stages.batcher.put_back(batch, PUT_BACK_SECONDS)

    def _start_batch_threads(self) -> list[threading.Thread]:
        count = self._config.batching.predict_threads + 1
        threads = [
            threading.Thread(
                target=self._live_batches,
                name=f"topicserve-batch-{number}",
                daemon=True,
            )
            for number in range(count)
        ]
        for thread in threads:
            thread.start()
        return threads

    def _live_batches(self) -> None:
        stages = self._stages
        try:
            while (batch := stages.batcher.take()) is not None:
                self.serve(batch)
        except AbandonedError:
            return
        except BaseException as error:
            stages.failure.report(error)

    def _finish(self, threads: Sequence[threading.Thread]) -> None:
        is_paused = self._stages.breaker.open
        # What an open breaker holds back is never finished.
        seconds = 0.0 if is_paused else self._config.delivery.shutdown_seconds
        deadline = self._clock() + seconds
        self._stages.draining = True
        self._stages.batcher.close()
        finished = self._stages.delivery.finish(seconds)
        left = self._stages.ledger.in_flight_records
        if not finished and left:
            self._metrics.abandoned_records.labels("shutdown").inc(left)
            log_event("left_uncommitted" if is_paused else "shutdown_timed_out", records=left)
        for thread in threads:
            thread.join(max(deadline - self._clock(), 0) if finished else 0)
