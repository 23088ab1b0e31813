"""Dead letters as the records that they were, to be published again."""

from topicserve.wire.dead_letter import ATTEMPT_HEADER, OUR_HEADERS, DeadLetter, Reason
from topicserve.wire.kafka_record import OutgoingRecord

SPRING_PREFIX = "kafka_dlt-"
# One dead letter stands for all records of such a batch, and has none of them.
_WITHOUT_RECORD = (Reason.CORRUPT_BATCH, Reason.BATCH_TOO_LARGE)
_MAX_DIGITS = 9


def is_complete(letter: DeadLetter) -> bool:
    """Return whether a dead letter has all of its record: one that was shortened has not."""
    return not letter.truncated and letter.reason not in _WITHOUT_RECORD


def attempts_of(letter: DeadLetter) -> int:
    """Return how many times the record was replayed before."""
    texts = [value or b"" for name, value in letter.record.headers if name == ATTEMPT_HEADER]
    return max([_number(text) for text in texts], default=0)


def replay_of(letter: DeadLetter, topic: str, partition: int | None = None) -> OutgoingRecord:
    """Return the record as it was published at first, with one attempt more.

    Key, value and the producer's headers are the same, in the same order; what says why the record
    was given up is left out. It gets a timestamp of its own: retention counts from that.
    """
    kept = [
        (name, value)
        for name, value in letter.record.headers
        if name not in OUR_HEADERS and name != ATTEMPT_HEADER and not name.startswith(SPRING_PREFIX)
    ]
    attempt = (ATTEMPT_HEADER, str(attempts_of(letter) + 1).encode())
    return OutgoingRecord(
        topic, letter.record.key, letter.record.value, [*kept, attempt], partition
    )


def _number(text: bytes) -> int:
    """Return what the header says; anything but a plain number counts as no attempt."""
    return int(text) if text.isdigit() and len(text) <= _MAX_DIGITS else 0
