"""A dead letter, and its place in the dead-letter topic, as filters and lists need it."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from topicserve.wire import header_names as names
from topicserve.wire.dead_letter import DeadLetter, decode_dead_letter
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.headers import read_id
from topicserve.wire.input_record import decode_input
from topicserve.wire.kafka_record import KafkaRecord
from topicserve.wire.rfc3339 import write_time


@dataclass(frozen=True, slots=True)
class DeadLetterEntry:
    """A dead letter as it was read: `record` has its place, `letter.record` the original."""

    record: KafkaRecord
    letter: DeadLetter

    @property
    def place(self) -> str:
        """Return the partition and the offset in the dead-letter topic."""
        return f"{self.record.partition}:{self.record.offset}"

    @property
    def reason(self) -> str:
        """Return why the record was given up."""
        return self.letter.reason.value

    @property
    def servable(self) -> str | None:
        """Return which servable the record names in its header."""
        return self._header(names.SERVABLE)

    @property
    def record_id(self) -> str | None:
        """Return the record's id, None where it has none that is valid."""
        headers = dict(self.letter.record.headers)
        with suppress(InvalidRecordError):
            if headers.get(names.ID) is not None:
                return read_id(headers[names.ID])
            return decode_input(self.letter.record).record_id  # a protobuf body may have it
        return None

    @property
    def needs_metadata(self) -> bool:
        """Return whether the producer stored metadata for this record."""
        absent = names.METADATA_ABSENT
        return self.record_id is not None and self._header(names.METADATA) != absent

    def summary(self) -> dict[str, Any]:
        """Return what a list shows of it."""
        original = self.letter.record
        return {
            "partition": self.record.partition,
            "offset": self.record.offset,
            "time": time_text(self.record.timestamp_ms),
            "reason": self.reason,
            "servable": self.servable,
            "id": self.record_id,
            "message": self.letter.message,
            **({"truncated": self.letter.truncated} if self.letter.truncated else {}),
            "original": {
                "topic": original.topic,
                "partition": original.partition,
                "offset": original.offset,
                "time": time_text(original.timestamp_ms),
            },
        }

    def _header(self, name: str) -> str | None:
        value = dict(self.letter.record.headers).get(name)
        return None if value is None else value.decode(errors="replace")


def decode_entry(record: KafkaRecord) -> DeadLetterEntry:
    """Return a record of a dead-letter topic, or raise InvalidRecordError."""
    return DeadLetterEntry(record, decode_dead_letter(record))


def time_text(timestamp_ms: int) -> str | None:
    """Return a Kafka timestamp as RFC 3339; None where there is none, or none of our calendar."""
    if timestamp_ms < 0:
        return None
    try:
        return write_time(datetime.fromtimestamp(timestamp_ms / 1000, UTC))
    except (OverflowError, ValueError, OSError):
        return None
