"""A shadow's records as a reader sees them: two versions that answered one record differently."""

from dataclasses import dataclass
from typing import Any

import orjson

from topicserve.wire import header_names as names
from topicserve.wire.errors import InvalidRecordError, reason_of
from topicserve.wire.kafka_record import KafkaRecord
from topicserve.wire.result import text_headers


@dataclass(frozen=True, slots=True)
class ShadowRecord:
    """What the version that answered said, and what the shadow said: two JSON results."""

    record_id: str
    primary: dict[str, Any]
    shadow: dict[str, Any]
    record: KafkaRecord


def is_shadow_record(record: KafkaRecord) -> bool:
    """Return whether a record is one of these, by its header."""
    return text_headers(record.headers).get(names.TYPE) == names.SHADOW_TYPE


def decode_shadow_record(record: KafkaRecord) -> ShadowRecord:
    """Return a shadow's record, or raise InvalidRecordError naming the field at fault."""
    try:
        body = orjson.loads(record.value or b"")
        record_id, primary, shadow = body["id"], body["primary"], body["shadow"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidRecordError("value", f"is not a shadow record: {reason_of(error)}") from None
    if not (isinstance(record_id, str) and isinstance(primary, dict) and isinstance(shadow, dict)):
        raise InvalidRecordError(
            "value", "is not a shadow record: it must hold an id and two results"
        )
    return ShadowRecord(record_id, primary, shadow, record)
