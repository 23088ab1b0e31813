"""Builds the stages of one worker around its connections."""

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict

import numpy as np

from topicserve.backends.broker import Consumer, Producer
from topicserve.backends.metadata_store import MetadataStore
from topicserve.servables.server.swap_guard import SwapGuard
from topicserve.wire.limits import Limits
from topicserve.worker.config.schema import Guarantee, WorkerConfig
from topicserve.worker.delivery.at_least_once import AtLeastOnce
from topicserve.worker.delivery.delivery import Delivery, DeliveryContext
from topicserve.worker.delivery.exactly_once import ExactlyOnce
from topicserve.worker.delivery.topic_limit import KnownRefusals, TopicLimit
from topicserve.worker.health.breaker import Breaker
from topicserve.worker.health.stall_detector import StallDetector
from topicserve.worker.offsets.rebalance import Rebalance
from topicserve.worker.offsets.tracker import OffsetTracker
from topicserve.worker.pipeline import Stages
from topicserve.worker.quarantine.quarantine import Quarantine
from topicserve.worker.quarantine.watch import PredictWatch
from topicserve.worker.runtime.fatal_error import FatalError
from topicserve.worker.runtime.guarding import GuardedResults
from topicserve.worker.runtime.metadata_cleaner import MetadataCleaner
from topicserve.worker.runtime.retry import RetryLoop
from topicserve.worker.runtime.unavailable_servables import UnavailableServables
from topicserve.worker.stages.batch import Batcher
from topicserve.worker.stages.batch_sizer import BatchSizer
from topicserve.worker.stages.calls.second_tries import SecondTries
from topicserve.worker.stages.consume import FlowControl
from topicserve.worker.stages.decode import Decoder
from topicserve.worker.stages.handles import Servables
from topicserve.worker.stages.join import Joiner
from topicserve.worker.stages.predict import Predictor
from topicserve.worker.stages.publish import Encoder, OutgoingBatch
from topicserve.worker.stages.routing import Router
from topicserve.worker.telemetry.event_log import DeadLetterLog
from topicserve.worker.telemetry.metrics import WorkerMetrics

# What the results of one batch may take of `max_in_flight_bytes`, as they are counted: outputs,
# text and result are held together while they are encoded, by two threads or more.
RESULTS_SHARE = 1 / 4


def build_stages(
    config: WorkerConfig,
    worker_id: str,
    servables: Servables,
    servable_names: Callable[[], Iterable[str]],
    consumer: Consumer,
    producer: Producer,
    store: MetadataStore,
    cleaner: MetadataCleaner | None,
    retry_loop: RetryLoop,
    metrics: WorkerMetrics,
    clock: Callable[[], float] = time.monotonic,
    wall_clock: Callable[[], float] = time.time,
    guard: SwapGuard | None = None,
    limit: TopicLimit | None = None,
    letters: TopicLimit | None = None,
) -> Stages:
    """Return the stages, connected to one another; nothing runs yet."""
    batching = config.batching
    dead_letters = DeadLetterLog(clock)
    tracker, fatal, unavailable = OffsetTracker(), FatalError(), UnavailableServables(clock)
    sizer = BatchSizer(
        batching.max_batch_size,
        batching.target_latency_seconds,
        int(batching.max_in_flight_bytes * RESULTS_SHARE),
    )
    batcher = Batcher(batching, sizer, clock)
    breaker = Breaker(config.delivery.breaker_window_records, config.delivery.max_dead_letter_share)
    tries = SecondTries()
    limit = limit or TopicLimit(config.topics.output, clock)
    letters = letters or TopicLimit(config.dead_letter_topic, clock)
    encoder = Encoder(config.topics.output, config.dead_letter_topic, worker_id, tries)
    after = _AfterAcknowledgement(cleaner, metrics, clock, wall_clock, dead_letters, tries, guard)
    delivery = _delivery(
        config.delivery.guarantee,
        DeliveryContext(
            consumer=consumer,
            producer=producer,
            tracker=tracker,
            batcher=batcher,
            encoder=encoder,
            config=config.delivery,
            max_in_flight_records=batching.max_in_flight_records,
            max_in_flight_bytes=batching.max_in_flight_bytes,
            transaction_timeout_seconds=config.transaction_timeout_ms / 1000,
            retry_loop=retry_loop,
            metrics=metrics,
            clock=clock,
            acknowledged=after,
            fatal=fatal,
            unavailable=unavailable,
            breaker=breaker,
            tries=tries,
            limit=limit,
        ),
    )
    flow = FlowControl(consumer, tracker, batching, metrics, clock, wall_clock)
    router = Router(config.servables, servable_names, config.default_servable, metrics)
    quarantine = Quarantine(
        consumer,
        tracker,
        batcher,
        delivery,
        config.delivery.max_attempts,
        batching.max_in_flight_records,
        metrics,
        clock,
    )
    unknown_seconds = config.delivery.unknown_version_seconds
    return Stages(
        consumer=consumer,
        tracker=tracker,
        rebalance=Rebalance(tracker, flow, batcher, delivery, unavailable, quarantine, metrics),
        flow=flow,
        decoder=Decoder(router, Limits(**asdict(config.limits))),
        batcher=batcher,
        predictor=Predictor(
            *(servables, batching, unknown_seconds, sizer, metrics, clock),
            guard=guard,
            check_batches=batching.check_batches,
            tries=tries,
        ),
        joiner=Joiner(store, config.metadata, retry_loop, metrics, clock),
        encoder=encoder,
        known_refusals=KnownRefusals(limit, letters, encoder, tries, metrics),
        delivery=delivery,
        breaker=breaker,
        stall_detector=StallDetector(tracker, clock),
        fatal=fatal,
        unavailable=unavailable,
        dead_letters=dead_letters,
        quarantine=quarantine,
        watch=PredictWatch(clock),
    )


def _delivery(guarantee: Guarantee, context: DeliveryContext) -> Delivery:
    if guarantee is Guarantee.EXACTLY_ONCE:
        return ExactlyOnce(context)
    return AtLeastOnce(context)


class _AfterAcknowledgement:
    """What follows an acknowledgement: on the delivery thread, so it is quick."""

    def __init__(
        self,
        cleaner: MetadataCleaner | None,
        metrics: WorkerMetrics,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        dead_letters: DeadLetterLog,
        tries: SecondTries,
        guard: SwapGuard | None,
    ) -> None:
        self._cleaner = cleaner
        self._metrics = metrics
        self._clock = clock
        self._wall_clock = wall_clock
        self._dead_letters = dead_letters
        self._tries = tries
        self._guarded = None if guard is None else GuardedResults(guard, metrics)

    def __call__(self, outgoing: OutgoingBatch) -> None:
        now, metrics = self._clock(), self._metrics
        by_poll: dict[float, int] = {}
        for polled in outgoing.polled:
            by_poll[polled.polled_at] = by_poll.get(polled.polled_at, 0) + 1
        for polled_at, count in by_poll.items():
            metrics.record_seconds.observe(now - polled_at, count)
        published_ms = np.array([polled.record.timestamp_ms for polled in outgoing.polled], float)
        # A clock that is behind the producer's would make records older than none. Where the
        # topic's format is so old that there is no timestamp, it is negative.
        ages = (self._wall_clock() - published_ms[published_ms >= 0] / 1000).clip(0)
        metrics.publish_to_result_seconds.observe_each(ages)
        self._dead_letters.note(outgoing)
        self._tries.forget(outgoing.polled)
        if self._guarded is not None:
            self._guarded.note(outgoing)
        if self._cleaner is not None:
            self._cleaner.delete(outgoing.record_ids())
