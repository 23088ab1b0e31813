"""The life of a batch, and the loop that feeds batches.

    poll -> decode -> batch -> predict -> join -> encode -> publish -> acknowledge -> commit

One thread polls: it alone talks to the consumer, and never waits for inference. Batch threads
process batches, one more of them than `batching.predict_threads`, so that one batch is encoded
while the next is predicted. Outcomes of a partition are published in the order of its records.

`parts.py` has the parts that both work with.
"""

import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

from topicserve.wire.kafka_record import KafkaRecord
from topicserve.worker.offsets.assignment import PartitionAssignment
from topicserve.worker.parts import Stages
from topicserve.worker.quarantine.given_up import BatchTimeoutError
from topicserve.worker.runtime.environment import Environment
from topicserve.worker.runtime.idle_collector import IdleCollector
from topicserve.worker.runtime.retry import ShutdownRequestedError
from topicserve.worker.stages.calls.calls import ServableUnavailableError
from topicserve.worker.stages.publish import OutgoingBatch
from topicserve.worker.stages.request import Batch
from topicserve.worker.telemetry.logging import log_event

# Long enough that a kafka-python consumer gets to join its group; records end it at once.
POLL_SECONDS = 0.1
MAX_POLL_RECORDS = 2048
# How often a thread that waits for acknowledgements looks whether the worker has failed.
ROOM_SECONDS = 1.0
# How long a lane rests whose servable is not available: a look-up costs next to nothing.
REQUEUE_SECONDS = 0.1


class Pipeline:
    """Runs the stages; `run` belongs to one thread."""

    def __init__(self, stages: Stages, environment: Environment) -> None:
        self._intake = stages.intake
        self._inference = stages.inference
        self._output = stages.output
        self._oversight = stages.oversight
        self._config = environment.config
        self._metrics = environment.metrics
        self._fatal = environment.fatal
        self._stop_time = environment.stop_time
        self._clock = environment.clock
        self._garbage = IdleCollector(environment.clock)

    def run(self, stop: Callable[[], bool]) -> None:
        """Serve until asked to stop, then finish what is in progress. Raises what made it fail."""
        threads = self._start_batch_threads()
        self._stop_time.is_asked = stop
        self._intake.consumer.subscribe(self._config.topics.input, self._intake.rebalance)
        while not self._stop_time.begun() and self._fatal.error is None:
            self._poll()
        if self._fatal.error is None:
            self._finish(threads)
        elif isinstance(self._fatal.error, BatchTimeoutError):
            self._note_clean_stop()
        if self._fatal.error is not None:
            raise self._fatal.error

    def _poll(self) -> None:
        """Poll once, as much as there is room for; then do what is due."""
        intake, oversight = self._intake, self._oversight
        is_paused = oversight.breaker.open
        held = oversight.timeouts.slow_partitions().union(intake.quarantine.full())
        if intake.fetcher is not None:
            intake.fetcher.threads.step()
            held |= intake.fetcher.full()
        room = intake.flow.regulate(held, is_paused=is_paused)
        wanted = min(room, self._inference.batcher.wait_for_room(POLL_SECONDS))
        records = intake.consumer.poll(POLL_SECONDS, min(wanted, MAX_POLL_RECORDS))
        if records:
            self._take_in(records)
        intake.quarantine.step()
        oversight.timeouts.check()
        self._output.delivery.tick(idle=not records)
        oversight.dead_letters.tick()
        oversight.stall_detector.note(is_paused=is_paused)
        if not records and not intake.tracker.in_flight_records:
            self._garbage.tick()

    def _take_in(self, records: Sequence[KafkaRecord]) -> None:
        """Decode polled records, and let them gather in the batcher until a batch thread comes."""
        intake = self._intake
        assignments = intake.tracker.track(records)
        requests, rejections = intake.decoder.decode(records, assignments, self._clock())
        intake.flow.admit(records, requests, rejections)
        epoch = self._output.delivery.admit(len(requests) + len(rejections))
        if intake.quarantine.is_needed:
            requests, given_up = intake.quarantine.hold_back(requests, epoch)
            rejections += given_up
        intake.gate.add(requests, rejections, epoch)

    def serve(self, batch: Batch) -> None:
        """Process one batch, up to where the delivery completes it."""
        output = self._output
        if batch.route.is_suspect:
            self._intake.quarantine.begins(batch)
        try:
            outgoing = self._answer(batch)
            while outgoing.again:  # here, or what comes behind would be published before them
                outgoing.take_over(self._answer(batch.alone(outgoing.again.pop(0))))
        except ServableUnavailableError as error:
            self._requeue(batch, error)
            return
        self._oversight.unavailable.clear(batch.route)
        if batch.route.is_suspect:  # a body of a user's own may have killed it until here
            self._intake.quarantine.survived(batch)
        if not outgoing.is_in_order:
            outgoing.sort()
        self._intake.tracker.count_outcomes(outgoing.counted_bytes)
        # Publishing may wait: the outputs and the metadata are in the results by now.
        output.order.settle(batch, lambda part: self._publish(batch, outgoing, part))

    def _answer(self, batch: Batch) -> OutgoingBatch:
        """Return a batch's outcomes. Raises ServableUnavailableError for all of it."""
        inference, output = self._inference, self._output
        # The store answers while the model works, unless the batch may come back once more.
        fetch = inference.joiner.start(batch.requests, defer=batch.returns_before > 0)
        try:
            with inference.watch.predicting(batch):
                predicted = inference.predictor.predict(batch)  # one handle, one version
        except ServableUnavailableError:
            fetch.cancel()
            raise
        joined = inference.joiner.finish(predicted.answered(), fetch)
        rejections = [*batch.rejections, *predicted.rejections, *joined.rejections]
        with output.watch.predicting(batch):  # a body of a user's own may hang when it writes
            outgoing = output.encoder.encode(predicted, joined.metadata, rejections)
        inference.batcher.note_results(batch, outgoing.measure())
        if inference.shadow is not None:
            inference.shadow.offer(predicted)
        return output.refusals.replace_known(outgoing)

    def _publish(
        self,
        batch: Batch,
        outgoing: OutgoingBatch,
        assignments: Collection[PartitionAssignment] | None,
    ) -> None:
        """Publish the outcomes of some partitions, or of all for None: their turn has come."""
        batcher, tracker = self._inference.batcher, self._intake.tracker
        if assignments is not None:
            batch, outgoing = batch.share_of(assignments), outgoing.share_of(assignments)
        if batcher.is_stale(batch):  # predicted beside a batch that came back: so must this one
            tracker.count_outcomes(-outgoing.counted_bytes)
            batcher.requeue(batch.whole(), 0)
            return
        if batch.left:
            self._give_back_rest(batch.rest())
        if self._intake.fetcher is not None:
            self._intake.fetcher.drop_bodies(outgoing)
        if self._oversight.breaker.admit(len(outgoing.polled), outgoing.rejections):
            self._output.delivery.publish(batch.epoch, outgoing)
        else:  # held back: the records stay in the tracker, uncommitted
            tracker.count_outcomes(-outgoing.counted_bytes)

    def _requeue(self, batch: Batch, error: ServableUnavailableError) -> None:
        """Give a batch back whose servable is not available now, when its turn comes."""
        self._metrics.retries.labels("predict").inc()
        self._oversight.unavailable.note(batch.route, str(error), is_loaded=error.is_loaded)

        def settle(assignments: Collection[PartitionAssignment] | None) -> None:
            share = (batch if assignments is None else batch.share_of(assignments)).whole()
            if batch.route.is_suspect:
                self._intake.quarantine.requeue(share)
            else:
                self._inference.batcher.give_back(share, REQUEUE_SECONDS)

        self._output.order.settle(batch, settle)

    def _give_back_rest(self, rest: Batch) -> None:
        """Give back what was too much for one prediction: its turn has come."""
        if rest.route.is_suspect:
            self._intake.quarantine.requeue(rest)
        else:
            self._inference.batcher.give_back(rest, 0.0)

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
        try:
            with suppress(ShutdownRequestedError):
                while (batch := self._take()) is not None:
                    self.serve(batch)
        except BaseException as error:
            self._fatal.report(error)

    def _take(self) -> Batch | None:
        """Take a batch, once what was answered before has gone far enough."""
        while not self._output.delivery.wait_for_room(ROOM_SECONDS):
            if self._fatal.error is not None or self._oversight.publishes_no_more:
                return None
        return None if self._oversight.publishes_no_more else self._inference.batcher.take()

    def _finish(self, threads: Sequence[threading.Thread]) -> None:
        """Finish what is in progress, within the time that a shutdown may take."""
        oversight, delivery = self._oversight, self._output.delivery
        is_paused = oversight.breaker.open
        # What an open breaker holds back is never finished.
        seconds = 0.0 if is_paused else self._stop_time.left_seconds
        deadline = self._clock() + seconds
        oversight.is_draining = True
        self._inference.batcher.close()
        finished = delivery.finish(seconds)
        left = self._intake.tracker.in_flight_records
        if is_paused:
            # What is being predicted may take a moment to return, and has not hung for that.
            self._join(threads, self._config.delivery.shutdown_timeout_seconds)
        self._note_clean_stop()
        if not finished and left:
            self._metrics.abandoned_records.labels("shutdown").inc(left)
            log_event("left_uncommitted" if is_paused else "shutdown_timed_out", records=left)
        self._join(threads, max(deadline - self._clock(), 0) if finished else 0)

    def _join(self, threads: Sequence[threading.Thread], seconds: float) -> None:
        deadline = self._clock() + seconds
        for thread in threads:
            thread.join(max(deadline - self._clock(), 0))

    def _note_clean_stop(self) -> None:
        """Tell the replica that reads the partitions next that this one has ended in order.

        Not of partitions with records that are still being predicted: these may have hung.
        """
        intake = self._intake
        intake.tracker.reading.pass_to(intake.consumer.stats().positions)
        unfinished = self._oversight.timeouts.unfinished_partitions()
        intake.quarantine.note_clean_stop(set(intake.tracker.partitions()) - unfinished)
        self._output.delivery.commit_notes()
