"""What the worker's topics are known to refuse, so that it need not be sent to be refused.

A refusal by the broker is costly: kafka-python's idempotent client must be replaced, and a
transaction is aborted. So the topic's limit is asked for at the start, and again while results are
refused: an operator may raise it.
"""

import threading
import time
from collections.abc import Callable, Iterable

from topicserve.backends.broker import Admin
from topicserve.backends.errors import BackendError, BackendUnavailableError, RecordTooLargeError
from topicserve.backends.kafka_settings import DEFAULT_BATCH_BYTES
from topicserve.wire.dead_letter import Reason
from topicserve.wire.dead_letter_fit import fit_dead_letter
from topicserve.wire.kafka_record import OutgoingRecord
from topicserve.wire.record_size import batch_bytes
from topicserve.worker.delivery.refused import is_tried_again, note_truncated
from topicserve.worker.stages.calls.second_tries import SecondTries
from topicserve.worker.stages.publish import Encoder, OutgoingBatch
from topicserve.worker.stages.request import Request
from topicserve.worker.telemetry.logging import log_event
from topicserve.worker.telemetry.metrics import WorkerMetrics

MAX_MESSAGE_BYTES = "max.message.bytes"
ASK_AGAIN_SECONDS = 60.0
# More than a batch's header.
_BATCH_MARGIN_BYTES = 1024


class TopicLimit:
    """The limit of one topic, as it was last told. Thread-safe."""

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
        """The largest batch that the topic takes; None while that is not known."""

    def is_due(self) -> bool:
        """Return whether results were refused since the limit was asked for, a while ago."""
        is_old = self._clock() - self._asked_at >= ASK_AGAIN_SECONDS
        return is_old and self._was_refused.is_set()

    def note_refusal(self) -> None:
        """Have the limit asked for again, in time: it may have changed."""
        self._was_refused.set()

    def ask(self, admin: Admin, timeout_seconds: float) -> None:
        """Ask for the limit. Raises BackendUnavailableError where no broker answers."""
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


def batch_settings(limits: Iterable[TopicLimit]) -> dict[str, object]:
    """Return settings of a producer with which no batch of several records is refused.

    librdkafka fills batches without knowing a topic's limit, and all records of one that is too
    large are refused. A record that is larger than a batch should be has one of its own.
    """
    known = [limit.max_bytes for limit in limits if limit.max_bytes is not None]
    if not known or min(known) >= DEFAULT_BATCH_BYTES + _BATCH_MARGIN_BYTES:
        return {}
    return {"batch.size": max(min(known) - _BATCH_MARGIN_BYTES, 1)}


class KnownRefusals:
    """Replaces outcomes that are known to be refused. Any thread may call it."""

    def __init__(
        self,
        limit: TopicLimit,
        letters: TopicLimit,
        encoder: Encoder,
        tries: SecondTries,
        metrics: WorkerMetrics,
    ) -> None:
        """`letters` is the limit of the dead-letter topic."""
        self._limit = limit
        self._letters = letters
        self._metrics = metrics
        self._encoder = encoder
        self._tries = tries

    def replace(self, outgoing: OutgoingBatch) -> OutgoingBatch:
        """Return outcomes that can be sent: a dead letter, or another try, for what cannot be.

        Takes measured outcomes, and returns such.
        """
        limit = self._limit.max_bytes
        # Results count twice, so these are those larger than half of the limit: all others pass at
        # the cost of one look at a batch. Where a key or headers are most of a record, the broker
        # refuses it, as it does without this.
        if limit is not None and outgoing.sizes and max(outgoing.sizes) > limit:
            outgoing = self._without_refused_results(outgoing, limit)
        if self._letters.max_bytes is not None and any(outgoing.reasons):
            self._fit_dead_letters(outgoing)
        return outgoing

    def _fit_dead_letters(self, outgoing: OutgoingBatch) -> None:
        """Leave out of each dead letter what its own size asks for."""
        for index, reason in enumerate(outgoing.reasons):
            letter = outgoing.records[index]
            problem = None if reason is None else self._letters.refusal(letter)
            if problem is None:
                continue
            self._letters.note_refusal()
            fit = fit_dead_letter(letter, self._letters.max_bytes or 0, batch_bytes)
            outgoing.records[index] = fit
            note_truncated(outgoing.polled[index], fit, str(problem), self._metrics)

    def _without_refused_results(self, outgoing: OutgoingBatch, limit: int) -> OutgoingBatch:
        again: set[int] = set()
        for index, size in enumerate(outgoing.sizes):
            if size <= limit or outgoing.reasons[index] is not None:
                continue
            error = self._limit.refusal(outgoing.records[index])
            if error is None:
                continue
            self._limit.note_refusal()
            if is_tried_again(outgoing, index, error, self._tries):
                again.add(index)
            else:
                reason = Reason.RESULT_TOO_LARGE
                letter = self._encoder.refused(outgoing.polled[index], reason, error)
                outgoing.records[index], outgoing.reasons[index] = letter, reason
        return _without(outgoing, again)


def _without(outgoing: OutgoingBatch, again: set[int]) -> OutgoingBatch:
    """Return a batch without the results whose records are predicted again, measured."""
    kept = outgoing.where(lambda index: index not in again)
    requests = [outgoing.polled[index] for index in sorted(again)]
    kept.again = [*outgoing.again, *(one for one in requests if isinstance(one, Request))]
    kept.measure()
    return kept
