"""What the worker's topics are known to refuse, so that it need not be sent to be refused.

A refusal by the broker is costly: kafka-python's idempotent client must be replaced, and a
transaction is aborted. So the topic's limit is asked for at the start, and again while results are
refused: an operator may raise it. Where the limit is not told, or was lowered since, a refusal
tells it: no record of that size or more is sent until the limit is asked for again.
"""

import threading
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from topicserve.backends.broker import Admin
from topicserve.backends.errors import BackendError, BackendUnavailableError, RecordTooLargeError
from topicserve.backends.kafka_settings import DEFAULT_BATCH_BYTES
from topicserve.wire.kafka_record import OutgoingRecord, batch_bytes
from topicserve.worker.config.schema import WorkerConfig
from topicserve.worker.telemetry.logging import log_event

MAX_MESSAGE_BYTES = "max.message.bytes"
ASK_AGAIN_SECONDS = 60.0
# More than a batch's header.
_BATCH_MARGIN_BYTES = 1024
_COMPRESSION = {"compression.type", "compression.codec"}


class TopicLimit:
    """The limit of one topic, as it was last told.

    The service and the broker watch call `ask`, which blocks for the broker's answer; any thread
    may call the rest, which does not block. There is no lock: `max_bytes` is assigned at once, and
    a thread that reads the value of before has a record refused by the broker instead.
    """

    def __init__(
        self, topic: str, clock: Callable[[], float] = time.monotonic, *, refuses: bool = True
    ) -> None:
        """`refuses` is False where records are compressed: what they take then is not known."""
        self.topic = topic
        self._clock = clock
        self._refuses = refuses
        self._asked_at = clock()
        self._was_refused = threading.Event()
        self.max_bytes: int | None = None
        """The largest batch that the topic may take; None while nothing is known of it."""

    def is_due(self) -> bool:
        """Return whether results were refused since the limit was asked for, a while ago."""
        is_old = self._clock() - self._asked_at >= ASK_AGAIN_SECONDS
        return is_old and self._was_refused.is_set()

    def note_refusal(self, refused: OutgoingRecord | None = None) -> None:
        """Have the limit asked for again, in time: it may have changed.

        `refused` is a record that was sent all the same. It was alone in its batch: both clients
        send records again that were refused with others.
        """
        self._was_refused.set()
        if refused is not None and self._refuses:
            smaller = batch_bytes(refused) - 1
            self.max_bytes = smaller if self.max_bytes is None else min(smaller, self.max_bytes)

    def ask(self, admin: Admin, timeout_seconds: float) -> None:
        """Ask for the limit.

        Raises BackendUnavailableError where no broker answers: what was known stays, and the
        question is to be asked again. A broker that does not tell leaves the limit unknown.
        """
        self._asked_at = self._clock()
        self._was_refused.clear()
        try:
            found = admin.topic_config(self.topic, MAX_MESSAGE_BYTES, timeout_seconds)
        except BackendUnavailableError:
            raise
        except BackendError as error:  # it may be asked by those alone who administrate
            log_event("topic_limit_unknown", topic=self.topic, problem=str(error))
            found = None
        self.max_bytes = None if found is None else int(found)

    def refusal(self, record: OutgoingRecord) -> RecordTooLargeError | None:
        """Return why a record would be refused, as far as that is known."""
        limit = self.max_bytes
        if limit is None or not self._refuses:
            return None
        size = batch_bytes(record)
        if size <= limit:
            return None
        return RecordTooLargeError(
            f"the record takes {size} bytes, and the topic {self.topic!r} at most {limit} "
            f"({MAX_MESSAGE_BYTES})"
        )


class TopicLimits(NamedTuple):
    """The limits of the two topics that outcomes are published to."""

    output: TopicLimit
    dead_letters: TopicLimit

    @classmethod
    def of(cls, config: WorkerConfig, clock: Callable[[], float] = time.monotonic) -> "TopicLimits":
        """Return the limits, not known yet."""
        kafka = config.kafka
        codecs = {({**kafka.settings, **kafka.producer_settings}).get(one) for one in _COMPRESSION}
        # What a result takes when it is compressed is known to the client alone, and too late.
        refuses = not codecs - {None, "none"}
        return cls(
            TopicLimit(config.topics.output, clock, refuses=refuses),
            TopicLimit(config.dead_letter_topic, clock, refuses=refuses),
        )


def batch_settings(limits: Iterable[TopicLimit]) -> dict[str, object]:
    """Return settings of a producer with which no batch of several records is refused.

    librdkafka fills batches without knowing a topic's limit, and all records of one that is too
    large are refused. A record that is larger than a batch should be has one of its own.
    """
    known = [limit.max_bytes for limit in limits if limit.max_bytes is not None]
    if not known or min(known) >= DEFAULT_BATCH_BYTES + _BATCH_MARGIN_BYTES:
        return {}
    return {"batch.size": max(min(known) - _BATCH_MARGIN_BYTES, 1)}
