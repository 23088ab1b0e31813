"""What the command prints of a result, a shadow's record and a dead letter."""

from typing import Any

from topicserve.cli.terminal import json_line
from topicserve.wire.dead_letter import DeadLetter
from topicserve.wire.kafka_record import KafkaRecord
from topicserve.wire.result import RESULT_KEYS, Result
from topicserve.wire.shadow_record import ShadowRecord

Item = Result | ShadowRecord | DeadLetter


def line_of(item: Item) -> bytes:
    """Return one line of JSON."""
    if isinstance(item, Result):
        content = result_object(item)
    elif isinstance(item, ShadowRecord):
        content = shadow_object(item)
    else:
        content = dead_letter_object(item)
    return json_line(content) + b"\n"


def result_object(result: Result) -> dict[str, Any]:
    """Return a result as its JSON body has it, with the worker and its place in the topic."""
    return {
        "id": result.record_id,
        "servable": {"name": result.servable, "version": result.version},
        "signature_name": result.signature_name,
        RESULT_KEYS.get(result.form, "outputs"): result.value,
        "metadata": result.metadata,
        "metadata_status": result.metadata_status.value,
        "worker": result.worker_id,
        **place_of(result.record),
    }


def shadow_object(item: ShadowRecord) -> dict[str, Any]:
    """Return what both versions said, with the record's place in the topic."""
    return {
        "id": item.record_id,
        "primary": item.primary,
        "shadow": item.shadow,
        **place_of(item.record),
    }


def dead_letter_object(letter: DeadLetter) -> dict[str, Any]:
    """Return why a record was given up, and the record; what is not text is base64."""
    return {
        "reason": letter.reason.value,
        "message": letter.message,
        "exception": letter.exception,
        **({"truncated": letter.truncated} if letter.truncated else {}),
        "topic": letter.record.topic,
        **place_of(letter.record),
        "headers": [[name, text_or_bytes(value)] for name, value in letter.record.headers],
        "value": text_or_bytes(letter.record.value),
    }


def place_of(record: KafkaRecord) -> dict[str, Any]:
    """Return where a record is and what Kafka knows of it."""
    return {
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        "key": text_or_bytes(record.key),
    }


def text_or_bytes(value: bytes | None) -> str | bytes | None:
    """Return text where it is text; bytes that are not UTF-8 become base64 in the line."""
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return value
