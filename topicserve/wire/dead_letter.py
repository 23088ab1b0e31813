"""Dead letters: a record given up, untouched, with where it came from and why in headers.

The names and encodings are Spring Kafka's (DeadLetterPublishingRecoverer: partition a big-endian
int32, offset and timestamp big-endian int64), so that its tools read our dead letters too.
"""

import struct
from dataclasses import dataclass
from enum import Enum

from topicserve.wire.kafka_record import KafkaRecord, OutgoingRecord

REASON_HEADER = "topicserve-reason"
MAX_MESSAGE_BYTES = 4096

_OURS = frozenset(
    {
        "kafka_dlt-original-topic",
        "kafka_dlt-original-partition",
        "kafka_dlt-original-offset",
        "kafka_dlt-original-timestamp",
        "kafka_dlt-exception-fqcn",
        "kafka_dlt-exception-message",
        REASON_HEADER,
    }
)


class Reason(Enum):
    """Why a record was given up: a closed set, fit for a metric's label."""

    INVALID_RECORD = "invalid_record"
    UNKNOWN_SERVABLE = "unknown_servable"
    UNKNOWN_VERSION = "unknown_version"
    UNKNOWN_SIGNATURE = "unknown_signature"
    INVALID_INPUT = "invalid_input"
    PREDICT_FAILED = "predict_failed"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    METADATA_MISSING = "metadata_missing"
    METADATA_INVALID = "metadata_invalid"
    RESULT_TOO_LARGE = "result_too_large"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that was given up, and why."""

    record: KafkaRecord
    reason: Reason
    exception: str
    message: str

    @classmethod
    def of(cls, record: KafkaRecord, reason: Reason, error: BaseException) -> "DeadLetter":
        """Return the dead letter of a record that failed with this error."""
        kind = type(error)
        return cls(record, reason, f"{kind.__module__}.{kind.__qualname__}", str(error))


def encode_dead_letter(letter: DeadLetter, topic: str) -> OutgoingRecord:
    """Return the record to publish: key, value and the producer's headers as they came.

    A record that was read back from a dead-letter topic gets these headers anew, not twice. The
    message is cut to MAX_MESSAGE_BYTES, so that a long one cannot make the record too large.
    """
    record = letter.record
    kept = [(name, value) for name, value in record.headers if name not in _OURS]
    message = letter.message.encode(errors="replace")[:MAX_MESSAGE_BYTES]
    headers = [
        *kept,
        ("kafka_dlt-original-topic", record.topic.encode()),
        ("kafka_dlt-original-partition", struct.pack(">i", record.partition)),
        ("kafka_dlt-original-offset", struct.pack(">q", record.offset)),
        ("kafka_dlt-original-timestamp", struct.pack(">q", record.timestamp_ms)),
        ("kafka_dlt-exception-fqcn", letter.exception.encode()),
        # A cut may fall inside a character; what is left of that one is dropped.
        ("kafka_dlt-exception-message", message.decode(errors="ignore").encode()),
        (REASON_HEADER, letter.reason.value.encode()),
    ]
    return OutgoingRecord(topic, record.key, record.value, headers)
