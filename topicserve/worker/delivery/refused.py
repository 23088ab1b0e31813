"""What is published in the place of an outcome that the client or the broker refuses."""

from collections.abc import Callable

from topicserve.backends.errors import RecordRefusedError, RecordTooLargeError
from topicserve.wire.dead_letter import TRUNCATED_HEADER, Reason
from topicserve.wire.dead_letter_fit import fit_dead_letter, size_bytes
from topicserve.wire.kafka_record import OutgoingRecord
from topicserve.worker.stages.calls.second_tries import Refusal, SecondTries
from topicserve.worker.stages.publish import OutgoingBatch
from topicserve.worker.stages.request import Polled
from topicserve.worker.telemetry.logging import log_event
from topicserve.worker.telemetry.metrics import WorkerMetrics

Refused = Callable[[Polled, Reason, Exception], OutgoingRecord]
"""Returns the dead letter of a record whose result was refused."""


def is_tried_again(
    outgoing: OutgoingBatch, index: int, error: RecordRefusedError, tries: SecondTries
) -> bool:
    """Return whether the record of a refused result is to be predicted once more; note how."""
    if outgoing.reasons[index] is not None:
        return False
    polled = outgoing.polled[index]
    return tries.note(
        polled,
        Refusal(_reason(error), error),
        is_alone=id(polled) in outgoing.alone,
        evidence=outgoing.evidence.get(id(polled)),
    )


def replacement(
    outgoing: OutgoingBatch,
    index: int,
    error: RecordRefusedError,
    dead_letter_of: Refused,
    metrics: WorkerMetrics,
) -> tuple[OutgoingRecord, Reason] | None:
    """Return a dead letter for a refused result, and a smaller one for a refused dead letter.

    None if the topic refuses the smallest dead letter: no record could be given up then.
    """
    polled, refused, reason = (
        outgoing.polled[index],
        outgoing.records[index],
        outgoing.reasons[index],
    )
    if reason is None:
        reason = _reason(error)
        return dead_letter_of(polled, reason, error), reason
    smaller = fit_dead_letter(refused, size_bytes(refused) - 1)
    if size_bytes(smaller) >= size_bytes(refused):
        return None
    note_truncated(polled, smaller, str(error), metrics)
    return smaller, reason


def note_truncated(
    polled: Polled, letter: OutgoingRecord, problem: str, metrics: WorkerMetrics
) -> None:
    """Count and log a dead letter of which a part was left out."""
    truncated = (dict(letter.headers).get(TRUNCATED_HEADER) or b"").decode()
    metrics.dead_letters_truncated.inc()
    log_event(
        "dead_letter_truncated",
        topic=polled.record.topic,
        partition=polled.record.partition,
        offset=polled.record.offset,
        left_out=truncated,
        problem=problem,
    )


def _reason(error: RecordRefusedError) -> Reason:
    too_large = isinstance(error, RecordTooLargeError)
    return Reason.RESULT_TOO_LARGE if too_large else Reason.RESULT_REFUSED
