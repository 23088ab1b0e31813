"""What becomes of an outcome: a topic acknowledges it, or refuses it.

Both deliveries use it, on batch threads and on those that deliver: nothing here blocks.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from topicserve.backends.errors import BackendError, RecordRefusedError, RecordTooLargeError
from topicserve.servables.server.swap_guard import SwapGuard
from topicserve.tracing import trace_of
from topicserve.wire.dead_letter import TRUNCATED_HEADER, Reason
from topicserve.wire.dead_letter_fit import fit_dead_letter, size_bytes
from topicserve.wire.kafka_record import EARLIEST_TIMESTAMP_MS, OutgoingRecord, batch_bytes
from topicserve.worker.delivery.large_results import LargeResults, NotStoredError
from topicserve.worker.health.dead_letter_log import DeadLetterLog
from topicserve.worker.health.guarding import GuardedResults
from topicserve.worker.runtime.environment import Environment
from topicserve.worker.runtime.metadata_cleaner import MetadataCleaner
from topicserve.worker.runtime.topic_limit import TopicLimits
from topicserve.worker.stages.calls.second_tries import Refusal, SecondTries
from topicserve.worker.stages.publish import Encoder, OutgoingBatch
from topicserve.worker.stages.request import Polled, Request
from topicserve.worker.telemetry.bulk_histogram import FEW
from topicserve.worker.telemetry.logging import log_event
from topicserve.worker.telemetry.metrics import WorkerMetrics


class Acknowledgement:
    """Counts outcomes that the broker acknowledged, and ends what was kept for their records.

    The delivery calls it once for every outcome, on the delivery thread: it does not block.
    """

    def __init__(
        self,
        environment: Environment,
        tries: SecondTries,
        dead_letters: DeadLetterLog,
        guard: SwapGuard | None = None,
        cleaner: MetadataCleaner | None = None,
    ) -> None:
        self._metrics = environment.metrics
        self._clock = environment.clock
        self._wall_clock = environment.wall_clock
        self._tries = tries
        self._dead_letters = dead_letters
        self._guarded = None if guard is None else GuardedResults(guard, self._metrics)
        self._cleaner = cleaner

    def __call__(self, outgoing: OutgoingBatch) -> None:
        """Take acknowledged outcomes."""
        self._observe_latency(outgoing)
        results = outgoing.count_results()
        for version, count in results.items():
            labels = outgoing.servable, str(version)
            self._metrics.results_published.labels(*labels).inc(count)
        if results.total() < len(outgoing.reasons):
            for reason, count in Counter(filter(None, outgoing.reasons)).items():
                self._metrics.dead_letters.labels(reason.value).inc(count)
            self._dead_letters.note(outgoing)
        if self._tries:
            self._tries.forget(outgoing.polled)
        if self._guarded is not None:
            self._guarded.note(outgoing)
        if self._cleaner is not None:
            self._cleaner.delete(outgoing.record_ids())

    def _observe_latency(self, outgoing: OutgoingBatch) -> None:
        now, metrics = self._clock(), self._metrics
        by_poll: dict[float, int] = {}
        for polled in outgoing.polled:
            by_poll[polled.polled_at] = by_poll.get(polled.polled_at, 0) + 1
        for polled_at, count in by_poll.items():
            metrics.record_seconds.observe(now - polled_at, count)
        published_ms = [polled.record.timestamp_ms for polled in outgoing.polled]
        metrics.publish_to_result_seconds.observe_each(
            record_ages(self._wall_clock(), published_ms)
        )


def record_ages(now: float, published_ms: Sequence[int]) -> Sequence[float] | NDArray[np.float64]:
    """Return the ages in seconds of the records that have a timestamp.

    A clock that is behind the producer's would make records older than none.
    """
    earliest = EARLIEST_TIMESTAMP_MS
    if len(published_ms) <= FEW:  # setting numpy's functions up would take longer
        return [max(now - one / 1000, 0.0) for one in published_ms if one >= earliest]
    milliseconds = np.array(published_ms, float)
    return (now - milliseconds[milliseconds >= earliest] / 1000).clip(0)


class Refusals:
    """Finds what to publish in the place of an outcome that a topic refuses.

    A result is predicted once more where that may help, and is replaced by a dead letter where it
    may not; a dead letter loses its value and its headers until it fits. Any thread may call it.
    """

    def __init__(
        self,
        limits: TopicLimits,
        encoder: Encoder,
        tries: SecondTries,
        metrics: WorkerMetrics,
        large: LargeResults | None = None,
    ) -> None:
        """`large` stores results that are too large; None: these are dead letters."""
        self._limits = limits
        self._encoder = encoder
        self._tries = tries
        self._metrics = metrics
        self._large = large

    def replace_known(self, outgoing: OutgoingBatch) -> OutgoingBatch:
        """Replace what the topics are known to refuse, before it is sent.

        Takes measured outcomes, and returns such. Blocks while results are stored; raises
        ShutdownRequestedError once the worker gives up.
        """
        limit = self._limits.output.max_bytes
        # Results count twice, so these are those larger than half of the limit: all others pass at
        # the cost of one look at a batch. Where a key or headers are most of a record, the broker
        # refuses it, as it does without this.
        if limit is not None and outgoing.sizes and max(outgoing.sizes) > limit:
            outgoing = self._without_refused_results(outgoing, limit)
        if self._large is not None and self._tries:
            self._store_noted(outgoing)
        if self._limits.dead_letters.max_bytes is not None and any(outgoing.reasons):
            self._fit_dead_letters(outgoing)
        return outgoing

    def note(self, outgoing: OutgoingBatch, index: int, error: BackendError) -> None:
        """Note why an outcome was refused: it may tell the limit of its topic."""
        if isinstance(error, RecordTooLargeError):
            is_result = outgoing.reasons[index] is None
            limit = self._limits.output if is_result else self._limits.dead_letters
            limit.note_refusal(outgoing.records[index])

    def is_tried_again(
        self, outgoing: OutgoingBatch, index: int, error: RecordRefusedError
    ) -> bool:
        """Return whether the record of a refused result is to be predicted again; note how."""
        if outgoing.reasons[index] is not None:
            return False
        polled = outgoing.polled[index]
        if self._is_predicted_otherwise(outgoing, index, error):
            return True
        # Its body is gone from here, or must not be waited for: it is stored the next time.
        is_too_large = isinstance(error, RecordTooLargeError)
        return is_too_large and self._large is not None and self._tries.note_stored(polled)

    def replacement(
        self, outgoing: OutgoingBatch, index: int, error: RecordRefusedError
    ) -> tuple[OutgoingRecord, Reason] | None:
        """Return a dead letter for a refused result, and a smaller one for a refused dead letter.

        None if the topic refuses the smallest dead letter: no record could be given up then.
        """
        polled = outgoing.polled[index]
        refused, reason = outgoing.records[index], outgoing.reasons[index]
        if reason is None:
            reason = _reason(error)
            return self._encoder.refused(polled, reason, error), reason
        smaller = fit_dead_letter(refused, size_bytes(refused) - 1)
        if size_bytes(smaller) >= size_bytes(refused):
            return None
        self._note_truncated(polled, smaller, str(error))
        return smaller, reason

    def _fit_dead_letters(self, outgoing: OutgoingBatch) -> None:
        """Leave out of each dead letter what its own size asks for."""
        limit = self._limits.dead_letters
        for index, reason in enumerate(outgoing.reasons):
            letter = outgoing.records[index]
            problem = None if reason is None else limit.refusal(letter)
            if problem is None:
                continue
            limit.note_refusal()
            fit = fit_dead_letter(letter, limit.max_bytes or 0, batch_bytes)
            outgoing.records[index] = fit
            self._note_truncated(outgoing.polled[index], fit, str(problem))

    def _without_refused_results(self, outgoing: OutgoingBatch, limit: int) -> OutgoingBatch:
        again: set[int] = set()
        for index, size in enumerate(outgoing.sizes):
            if size <= limit or outgoing.reasons[index] is not None:
                continue
            error = self._limits.output.refusal(outgoing.records[index])
            if error is None:
                continue
            self._limits.output.note_refusal()
            if self._is_predicted_otherwise(outgoing, index, error):
                again.add(index)
            else:
                self._replace_large(outgoing, index, error)
        return _without(outgoing, again)

    def _is_predicted_otherwise(
        self, outgoing: OutgoingBatch, index: int, error: RecordRefusedError
    ) -> bool:
        """Note a refused result; return whether another prediction may write another one."""
        polled = outgoing.polled[index]
        return self._tries.note(
            polled,
            Refusal(_reason(error), error),
            is_alone=id(polled) in outgoing.alone,
            evidence=outgoing.evidence.get(id(polled)),
        )

    def _store_noted(self, outgoing: OutgoingBatch) -> None:
        """Store the results that the broker refused the time before."""
        for index, polled in enumerate(outgoing.polled):
            is_result = outgoing.reasons[index] is None and outgoing.records[index].value
            if is_result and self._tries.is_stored(polled):
                self._replace_large(outgoing, index, RecordTooLargeError("it was refused"))
        outgoing.measure()

    def _replace_large(
        self, outgoing: OutgoingBatch, index: int, error: RecordRefusedError
    ) -> None:
        """Put a reference in the place of a result that is too large, or else a dead letter."""
        polled, record = outgoing.polled[index], outgoing.records[index]
        problem: Exception = error
        if self._large is not None and record.value:
            version = outgoing.others.get(id(polled), outgoing.version)
            try:
                outgoing.records[index] = self._large.stored(
                    polled, version, record, self._limits.output.refusal
                )
            except NotStoredError as not_stored:
                problem = not_stored
            else:
                return
        reason = Reason.RESULT_TOO_LARGE
        outgoing.records[index] = self._encoder.refused(polled, reason, problem)
        outgoing.reasons[index] = reason

    def _note_truncated(self, polled: Polled, letter: OutgoingRecord, problem: str) -> None:
        truncated = (dict(letter.headers).get(TRUNCATED_HEADER) or b"").decode()
        self._metrics.dead_letters_truncated.inc()
        log_event(
            "dead_letter_truncated",
            topic=polled.record.topic,
            partition=polled.record.partition,
            offset=polled.record.offset,
            left_out=truncated,
            problem=problem,
            **trace_of(polled.record.headers),
        )


def _without(outgoing: OutgoingBatch, again: set[int]) -> OutgoingBatch:
    """Return a batch without the results whose records are predicted again, measured."""
    kept = outgoing.where(lambda index: index not in again)
    requests = [outgoing.polled[index] for index in sorted(again)]
    kept.again = [*outgoing.again, *(one for one in requests if isinstance(one, Request))]
    kept.rejections = outgoing.rejections
    kept.measure()
    return kept


def _reason(error: RecordRefusedError) -> Reason:
    too_large = isinstance(error, RecordTooLargeError)
    return Reason.RESULT_TOO_LARGE if too_large else Reason.RESULT_REFUSED
