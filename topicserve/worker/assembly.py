"""Builds the stages of one worker around its connections."""

from dataclasses import dataclass

import msgspec

from topicserve.backends.broker import Consumer, Producer
from topicserve.backends.metadata_store import MetadataStore
from topicserve.backends.references.stores import BodyStores
from topicserve.servables.server.swap_guard import SwapGuard
from topicserve.wire.bodies.registry import Bodies
from topicserve.wire.limits import Limits
from topicserve.worker.config.schema import BatchingConfig, Guarantee, LimitsConfig
from topicserve.worker.delivery.at_least_once import AtLeastOnce
from topicserve.worker.delivery.delivery import Delivery, DeliveryContext
from topicserve.worker.delivery.exactly_once import ExactlyOnce
from topicserve.worker.delivery.large_results import LargeResults
from topicserve.worker.delivery.outcomes import Acknowledgement, Refusals
from topicserve.worker.health.breaker import Breaker
from topicserve.worker.health.dead_letter_log import DeadLetterLog
from topicserve.worker.health.stall_detector import StallDetector
from topicserve.worker.health.unavailable_servables import UnavailableServables
from topicserve.worker.offsets.tracker import OffsetTracker
from topicserve.worker.parts import Inference, Intake, Output, Oversight, Stages
from topicserve.worker.quarantine.quarantine import Quarantine
from topicserve.worker.quarantine.timeouts import PredictTimeouts
from topicserve.worker.rebalance import Rebalance
from topicserve.worker.runtime.bodies import open_bodies
from topicserve.worker.runtime.environment import Environment
from topicserve.worker.runtime.metadata_cleaner import MetadataCleaner
from topicserve.worker.runtime.topic_limit import TopicLimits
from topicserve.worker.stages.ask import BodyAsker
from topicserve.worker.stages.batch import Batcher, Gathers, PublishOrder
from topicserve.worker.stages.batch_sizer import BatchSizer
from topicserve.worker.stages.calls.second_tries import SecondTries
from topicserve.worker.stages.consume import FlowControl
from topicserve.worker.stages.decode import Decoder
from topicserve.worker.stages.fetch.fetcher import BodyFetcher
from topicserve.worker.stages.handles import Servables
from topicserve.worker.stages.join import Joiner
from topicserve.worker.stages.predict import Predictor, PredictWatch
from topicserve.worker.stages.publish import Encoder
from topicserve.worker.stages.routing import Router

# What the results of one batch may take of `max_in_flight_bytes`, as they are counted: outputs,
# text and result are held together while they are encoded, by two threads or more.
RESULTS_SHARE = 1 / 4


@dataclass(frozen=True, slots=True)
class Connections:
    """What a worker is connected to. The service opens and closes it, or a test fakes it."""

    consumer: Consumer
    producer: Producer
    store: MetadataStore
    cleaner: MetadataCleaner | None = None
    """Deletes metadata once its result is acknowledged, where that is wanted."""


def build_stages(
    environment: Environment,
    connections: Connections,
    servables: Servables,
    guard: SwapGuard | None = None,
    limits: TopicLimits | None = None,
) -> Stages:
    """Return the stages, connected to one another; nothing runs yet."""
    config, clock = environment.config, environment.clock
    tracker, unavailable = OffsetTracker(), UnavailableServables(clock)
    breaker = Breaker(config.delivery.breaker_window_records, config.delivery.max_dead_letter_share)
    sizer, tries, dead_letters = _batch_sizer(config.batching), SecondTries(), DeadLetterLog(clock)
    inference = _inference(environment, connections, servables, sizer, tries, guard)
    encoder = Encoder(config.topics.output, config.dead_letter_topic, environment.worker_id, tries)
    limits = limits or TopicLimits.of(config, clock)
    large = LargeResults(environment) if config.dataref.results else None
    refusals = Refusals(limits, encoder, tries, environment.metrics, large)
    router = Router(config.servables, servables.names, config.default_servable, environment.metrics)
    bodies = open_bodies(config)
    decoder = Decoder(
        *(router, limits_of(config.limits), bodies),
        fetches=bool(config.dataref.allow),
        defers_asking=bodies.asks,
    )
    fetcher = _fetcher(environment, servables, tracker, inference.batcher, bodies)
    gate: Gathers = fetcher or inference.batcher
    asker = _asker(environment, servables, tracker, gate, bodies)
    gate = asker or gate
    delivery = _delivery(
        DeliveryContext(
            environment=environment,
            consumer=connections.consumer,
            producer=connections.producer,
            tracker=tracker,
            batcher=gate,
            refusals=refusals,
            acknowledged=Acknowledgement(
                environment, tries, dead_letters, guard, connections.cleaner
            ),
            unavailable=unavailable,
            breaker=breaker,
        )
    )
    quarantine = Quarantine(environment, connections.consumer, tracker, gate, delivery)
    encoding = PredictWatch(clock)
    timeouts = PredictTimeouts(
        lambda seconds: inference.watch.running_for(seconds) + encoding.running_for(seconds),
        *(quarantine, environment),
    )
    if fetcher is not None:
        fetcher.on_suspect_rejected = quarantine.gave_up_one
        fetcher.threads.on_hang = timeouts.body_hangs
    if asker is not None:
        asker.on_suspect_rejected, asker.on_hang = quarantine.gave_up_one, timeouts.body_hangs
    flow = FlowControl(environment, connections.consumer, tracker)
    return Stages(
        Intake(
            consumer=connections.consumer,
            tracker=tracker,
            rebalance=Rebalance(
                *(tracker, flow, gate, delivery),
                *(unavailable, quarantine, environment.metrics),
            ),
            flow=flow,
            decoder=decoder,
            quarantine=quarantine,
            gate=gate,
            fetcher=fetcher,
            asker=asker,
        ),
        inference,
        Output(encoder, refusals, PublishOrder(), delivery, encoding, large),
        Oversight(
            breaker=breaker,
            unavailable=unavailable,
            stall_detector=StallDetector(tracker, unavailable, clock),
            timeouts=timeouts,
            dead_letters=dead_letters,
        ),
    )


def limits_of(limits: LimitsConfig) -> Limits:
    """Return [limits] as the decoder has it; the names are the same."""
    return Limits(**msgspec.structs.asdict(limits))


def _fetcher(
    environment: Environment,
    servables: Servables,
    tracker: OffsetTracker,
    batcher: Batcher,
    bodies: Bodies,
) -> BodyFetcher | None:
    """Return what fetches bodies, with a decoder of its own: that of polled records is not idle."""
    config = environment.config
    if not config.dataref.allow:
        return None
    # Its records were counted as a canary's by no other.
    router = Router(config.servables, servables.names, config.default_servable, environment.metrics)
    decoder = Decoder(router, limits_of(config.limits), bodies)
    return BodyFetcher(environment, tracker, batcher, decoder, BodyStores(config.dataref.allow))


def _asker(
    environment: Environment,
    servables: Servables,
    tracker: OffsetTracker,
    gate: Gathers,
    bodies: Bodies,
) -> BodyAsker | None:
    """Return what asks bodies, with a decoder of its own, where a body wants to be asked."""
    if not bodies.asks:
        return None
    config = environment.config
    router = Router(config.servables, servables.names, config.default_servable, environment.metrics)
    decoder = Decoder(router, limits_of(config.limits), bodies)
    return BodyAsker(environment, tracker, gate, decoder)


def _batch_sizer(batching: BatchingConfig) -> BatchSizer:
    return BatchSizer(
        batching.max_batch_size,
        batching.target_latency_seconds,
        int(batching.max_in_flight_bytes * RESULTS_SHARE),
    )


def _inference(
    environment: Environment,
    connections: Connections,
    servables: Servables,
    sizer: BatchSizer,
    tries: SecondTries,
    guard: SwapGuard | None,
) -> Inference:
    config, metrics, clock = environment.config, environment.metrics, environment.clock
    return Inference(
        Batcher(config.batching, sizer, clock),
        Predictor(environment, servables, sizer, guard=guard, tries=tries),
        PredictWatch(clock),
        Joiner(connections.store, config.metadata, environment.retry_loop, metrics, clock),
    )


def _delivery(context: DeliveryContext) -> Delivery:
    if context.environment.config.delivery.guarantee is Guarantee.EXACTLY_ONCE:
        return ExactlyOnce(context)
    return AtLeastOnce(context)
