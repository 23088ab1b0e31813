"""The parts of a worker: how records come in, are predicted and go out, and what watches over it.

`assembly.py` builds them, `pipeline.py` runs them, and the service and the health pages look at
them. Each part is a handful of stages that are used together.
"""

from dataclasses import dataclass

from topicserve.backends.broker import Consumer
from topicserve.worker.delivery.delivery import Delivery
from topicserve.worker.delivery.large_results import LargeResults
from topicserve.worker.delivery.outcomes import Refusals
from topicserve.worker.health.breaker import Breaker
from topicserve.worker.health.dead_letter_log import DeadLetterLog
from topicserve.worker.health.stall_detector import StallDetector
from topicserve.worker.health.unavailable_servables import UnavailableServables
from topicserve.worker.offsets.tracker import OffsetTracker
from topicserve.worker.quarantine.quarantine import Quarantine
from topicserve.worker.quarantine.timeouts import PredictTimeouts
from topicserve.worker.rebalance import Rebalance
from topicserve.worker.stages.ask import BodyAsker
from topicserve.worker.stages.batch import Batcher, Gathers, PublishOrder
from topicserve.worker.stages.consume import FlowControl
from topicserve.worker.stages.decode import Decoder
from topicserve.worker.stages.fetch.fetcher import BodyFetcher
from topicserve.worker.stages.join import Joiner
from topicserve.worker.stages.predict import Predictor, PredictWatch
from topicserve.worker.stages.publish import Encoder
from topicserve.worker.stages.shadow import Shadow


@dataclass(slots=True)
class Intake:
    """From the topic to the batcher: used by the polling thread, which never waits for inference.

    The tracker alone is for every thread: it accounts for each record from here to its commit.
    """

    consumer: Consumer
    tracker: OffsetTracker
    rebalance: Rebalance
    flow: FlowControl
    decoder: Decoder
    quarantine: Quarantine
    gate: Gathers
    """Takes what was decoded: the batcher, or the fetcher or the asker in front of it."""
    fetcher: BodyFetcher | None = None
    """Fetches bodies that lie elsewhere, where that is allowed."""
    asker: BodyAsker | None = None
    """Asks bodies of a user's own where their records go, where they say so."""


@dataclass(slots=True)
class Inference:
    """From the batcher to outputs and metadata: used by all batch threads at once."""

    batcher: Batcher
    predictor: Predictor
    watch: PredictWatch
    joiner: Joiner
    shadow: Shadow | None = None
    """A second version that predicts some records too; what it answers is only compared."""

    @property
    def is_in_a_call(self) -> bool:
        """Return whether a call of a servable has not returned, or a comparison is not over."""
        has_shadow = self.shadow is not None and self.shadow.is_running
        return has_shadow or self.watch.longest()[0] > 0


@dataclass(slots=True)
class Output:
    """From outputs to the commit: encoded by any batch thread, published in each partition's order.

    The delivery's callback ends a record's way, on a thread of the Kafka client.
    """

    encoder: Encoder
    refusals: Refusals
    order: PublishOrder
    delivery: Delivery
    watch: PredictWatch
    """Knows which batches are being encoded."""
    large: LargeResults | None = None
    """Stores results that are too large for their topic, where that is wanted."""


@dataclass(slots=True)
class Oversight:
    """What tells whether the worker gets on: the polling loop acts on it, health pages show it."""

    breaker: Breaker
    unavailable: UnavailableServables
    stall_detector: StallDetector
    timeouts: PredictTimeouts
    dead_letters: DeadLetterLog
    is_draining: bool = False
    """Whether the worker has been asked to stop; one assignment, no lock."""

    @property
    def publishes_no_more(self) -> bool:
        """Return whether it was asked to stop while the breaker holds all outcomes back."""
        return self.is_draining and self.breaker.open


@dataclass(slots=True)
class Stages:
    """All stages of one worker."""

    intake: Intake
    inference: Inference
    output: Output
    oversight: Oversight
