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
EXCEPTION_HEADER = "kafka_dlt-exception-fqcn"
MESSAGE_HEADER = "kafka_dlt-exception-message"
TRUNCATED_HEADER = "topicserve-truncated"
"""What of the record is left out, each part with its size: `value=1048230,headers=512`."""
ATTEMPT_HEADER = "topicserve-replay-attempt"
"""How many times the record was published again from a dead-letter topic, in decimal digits."""
MAX_MESSAGE_BYTES = 4096
MAX_EXCEPTION_BYTES = 256

OUR_HEADERS = frozenset(
    {
        "kafka_dlt-original-topic",
        "kafka_dlt-original-partition",
        "kafka_dlt-original-offset",
        "kafka_dlt-original-timestamp",
        EXCEPTION_HEADER,
        MESSAGE_HEADER,
        REASON_HEADER,
        TRUNCATED_HEADER,
    }
)


class Reason(Enum):
    """Why a record was given up: a closed set, fit for a metric's label."""

    INVALID_RECORD = "invalid_record"
    """The headers or the body cannot be read."""
    UNKNOWN_SERVABLE = "unknown_servable"
    """The worker serves nothing of that name."""
    UNKNOWN_VERSION = "unknown_version"
    """No such version or label, and none on its way for a while."""
    UNKNOWN_SIGNATURE = "unknown_signature"
    """The version has no signature of that name."""
    INVALID_INPUT = "invalid_input"
    """The record does not fit the signature, or its format cannot hold an output."""
    PREDICT_FAILED = "predict_failed"
    """The servable failed on this record alone."""
    DEADLINE_EXCEEDED = "deadline_exceeded"
    """Its deadline had passed before it was predicted."""
    METADATA_MISSING = "metadata_missing"
    """There was no metadata, and `metadata.on_missing` asks for a dead letter."""
    METADATA_INVALID = "metadata_invalid"
    """The store has something else than a JSON object under the record id."""
    RESULT_TOO_LARGE = "result_too_large"
    """The broker takes no result of that size, also predicted alone."""
    DATAREF_REFUSED = "dataref_refused"
    """The worker may not read the URL of the record's body: not allowed, or not by the store."""
    DATAREF_NOT_FOUND = "dataref_not_found"
    """There is nothing at the URL of its body."""
    DATAREF_TOO_LARGE = "dataref_too_large"
    """Its body has more than `dataref.max_bytes`."""
    DATAREF_MISMATCH = "dataref_mismatch"
    """Its body has another hash than the record says."""
    DATAREF_UNAVAILABLE = "dataref_unavailable"
    """The store of its body did not answer for `dataref.wait_seconds`."""
    KILLED_WORKER = "killed_worker"
    """Workers died each time they predicted it."""
    TIMED_OUT = "timed_out"
    """Its prediction did not return in time, each time."""
    RESULT_REFUSED = "result_refused"
    """The client or the broker refuses the result for another reason."""
    CORRUPT_BATCH = "corrupt_batch"
    """A batch of the input topic cannot be read; this stands for all of its records."""
    BATCH_TOO_LARGE = "batch_too_large"
    """A batch decompresses to too much; this stands for all of its records."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that was given up, and why."""

    record: KafkaRecord
    """As it was read from its input topic: key, value and headers untouched, unless truncated."""
    reason: Reason
    exception: str
    """The class of the error, with its module."""
    message: str
    """The error's text, cut to MAX_MESSAGE_BYTES."""
    truncated: str = ""
    """What of the record is left out, as TRUNCATED_HEADER says; empty where nothing is."""

    @classmethod
    def of(cls, record: KafkaRecord, reason: Reason, error: BaseException) -> "DeadLetter":
        """Return the dead letter of a record that failed with this error."""
        kind = type(error)
        truncated = dict(record.headers).get(TRUNCATED_HEADER) or b""
        return cls(
            record,
            reason,
            f"{kind.__module__}.{kind.__qualname__}",
            _message(error),
            truncated.decode(errors="replace"),
        )


def _message(error: BaseException) -> str:
    """Return an error's message, cut; never raises, for an error's class may be a user's own."""
    try:
        # No more is written than MAX_MESSAGE_BYTES, and no character takes less than a byte.
        return str(error)[:MAX_MESSAGE_BYTES]
    except Exception as second:
        return f"the message cannot be read, which raises {type(second).__name__}"


def encode_dead_letter(letter: DeadLetter, topic: str) -> OutgoingRecord:
    """Return the record to publish: key, value and the producer's headers as they came.

    A record that was read back from a dead-letter topic gets these headers again, not twice. The
    message is cut to MAX_MESSAGE_BYTES. One that is too large for a topic is made smaller by
    `fit_dead_letter`.
    """
    record = letter.record
    kept = [(name, value) for name, value in record.headers if name not in OUR_HEADERS]
    headers = [
        *kept,
        ("kafka_dlt-original-topic", record.topic.encode()),
        ("kafka_dlt-original-partition", struct.pack(">i", record.partition)),
        ("kafka_dlt-original-offset", struct.pack(">q", record.offset)),
        ("kafka_dlt-original-timestamp", struct.pack(">q", record.timestamp_ms)),
        (EXCEPTION_HEADER, cut_text(letter.exception, MAX_EXCEPTION_BYTES)),
        (MESSAGE_HEADER, cut_text(letter.message, MAX_MESSAGE_BYTES)),
        (REASON_HEADER, letter.reason.value.encode()),
    ]
    if letter.truncated:
        headers.append((TRUNCATED_HEADER, letter.truncated.encode()))
    return OutgoingRecord(topic, record.key, record.value, headers)


def decode_dead_letter(record: KafkaRecord) -> DeadLetter:
    """Return a dead letter as it was given up, or raise InvalidRecordError naming the header.

    Its `record` is the original one, with its own topic, partition, offset, timestamp and headers:
    publishing its key, value and headers again repeats it.
    """
    ours = {name: value or b"" for name, value in record.headers if name in OUR_HEADERS}
    original = KafkaRecord(
        topic=_text(ours, "kafka_dlt-original-topic"),
        partition=_integer(ours, "kafka_dlt-original-partition", ">i"),
        offset=_integer(ours, "kafka_dlt-original-offset", ">q"),
        timestamp_ms=_integer(ours, "kafka_dlt-original-timestamp", ">q"),
        key=record.key,
        value=record.value,
        headers=[header for header in record.headers if header[0] not in OUR_HEADERS],
    )
    reason = _text(ours, REASON_HEADER)
    try:
        known = Reason(reason)
    except ValueError:
        raise InvalidRecordError(
            REASON_HEADER, f"is not a reason that workers write: {reason[:64]!r}"
        ) from None
    return DeadLetter(
        original,
        known,
        _text(ours, EXCEPTION_HEADER),
        _text(ours, MESSAGE_HEADER),
        ours.get(TRUNCATED_HEADER, b"").decode(errors="replace"),
    )


def cut_text(text: str, max_bytes: int) -> bytes:
    """Return text as UTF-8 of at most this length, cut between two characters."""
    cut = text.encode(errors="replace")[:max_bytes]
    return cut.decode(errors="ignore").encode()


def _header(headers: Mapping[str, bytes], name: str) -> bytes:
    if name not in headers:
        raise InvalidRecordError(name, "is missing; this is not a dead letter of a worker")
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
