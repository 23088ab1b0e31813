"""Dead letters: a record given up, untouched, with where it came from and why in headers.

The names and encodings are Spring Kafka's (DeadLetterPublishingRecoverer: partition a big-endian
int32, offset and timestamp big-endian int64), so that its tools read our dead letters too.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from topicserve.wire.errors import InvalidRecordError
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
    KILLED_WORKER = "killed_worker"
    TIMED_OUT = "timed_out"


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


def decode_dead_letter(record: KafkaRecord) -> DeadLetter:
    """Return a dead letter as it was given up, or raise InvalidRecordError naming the header.

    Its `record` is the original one, with its own topic, partition, offset, timestamp and headers:
    publishing its key, value and headers again repeats it.
    """
    ours = {name: value or b"" for name, value in record.headers if name in _OURS}
    original = KafkaRecord(
        topic=_text(ours, "kafka_dlt-original-topic"),
        partition=_integer(ours, "kafka_dlt-original-partition", ">i"),
        offset=_integer(ours, "kafka_dlt-original-offset", ">q"),
        timestamp_ms=_integer(ours, "kafka_dlt-original-timestamp", ">q"),
        key=record.key,
        value=record.value,
        headers=[header for header in record.headers if header[0] not in _OURS],
    )
    reason = _text(ours, REASON_HEADER)
    try:
        known = Reason(reason)
    except ValueError:
        raise InvalidRecordError(REASON_HEADER, f"is no reason of ours: {reason[:64]!r}") from None
    exception = _text(ours, "kafka_dlt-exception-fqcn")
    return DeadLetter(original, known, exception, _text(ours, "kafka_dlt-exception-message"))


def _header(headers: Mapping[str, bytes], name: str) -> bytes:
    if name not in headers:
        raise InvalidRecordError(name, "is missing; this is no dead letter of ours")
    return headers[name]


def _text(headers: Mapping[str, bytes], name: str) -> str:
    try:
        return _header(headers, name).decode()
    except UnicodeDecodeError:
        raise InvalidRecordError(name, "is not UTF-8") from None


def _integer(headers: Mapping[str, bytes], name: str, form: str) -> int:
    try:
        (number,) = struct.unpack(form, _header(headers, name))
    except struct.error:
        size = struct.calcsize(form)
        raise InvalidRecordError(name, f"must be a {size}-byte big-endian integer") from None
    return int(number)
