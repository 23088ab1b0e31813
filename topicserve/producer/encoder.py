"""Records as they travel: CloudEvents headers over TensorFlow Serving's bodies."""

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np

from topicserve.producer.forms import (
    body_of,
    inputs_of,
    instance_of,
    reference_of,
    rows_of,
    tensors_of,
)
from topicserve.producer.json_bytes import json_body, json_object
from topicserve.producer.record import STORED_ELSEWHERE, Record
from topicserve.wire import header_names as names
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.kafka_record import OutgoingRecord
from topicserve.wire.record_id import WANTED, canonical_record_id, new_record_id
from topicserve.wire.rfc3339 import write_time

_JSON_FORMS = ("instance", "instances", "inputs")
_FORMS = (*_JSON_FORMS, "tensors", "body", "dataref")
_MAX_SHOWN = 64
_ONE_FORM = "must be given in exactly one form: " + ", ".join(_FORMS)


class EncodedRecord(NamedTuple):
    """A record ready to go: what Kafka gets, and what the metadata store gets before."""

    record_id: str
    outgoing: OutgoingRecord
    metadata: bytes | None
    """A JSON object; None where there is none to store."""
    size_bytes: int
    """Of value, key and metadata: what the bound on records in progress counts."""


class RecordEncoder:
    """Encodes records for one topic; what they leave open is filled in. Any thread may call it."""

    def __init__(self, topic: str, source: str, servable: str | None = None) -> None:
        if not _text(source, "source"):
            raise InvalidRecordError("source", "is empty; CloudEvents requires a URI reference")
        self._topic = topic
        self._servable = servable
        self._common = [
            (names.SPECVERSION, names.SPECVERSION_VALUE.encode()),
            (names.TYPE, names.INPUT_TYPE.encode()),
            (names.SOURCE, source.encode()),
        ]

    def encode(self, record: Record) -> EncodedRecord:
        """Return the record encoded, or raise InvalidRecordError naming the field at fault."""
        record_id = _record_id(record.record_id)
        content_type, value = _body(record)
        metadata = _metadata(record.metadata)
        headers = [
            *self._common,
            (names.ID, record_id.encode()),
            (names.CONTENT_TYPE, content_type.encode()),
            *self._optional_headers(record),
        ]
        key = _key(record.key, record_id)
        outgoing = OutgoingRecord(self._topic, key, value, headers)
        return EncodedRecord(
            record_id, outgoing, metadata, len(value) + len(key) + len(metadata or b"")
        )

    def _optional_headers(self, record: Record) -> list[tuple[str, bytes]]:
        if record.version is not None and record.label is not None:
            raise InvalidRecordError("label", "give a version or a label, not both")
        texts = {
            names.SERVABLE: _optional_text(record.servable or self._servable, "servable"),
            names.SERVABLE_VERSION: _version(record.version),
            names.SERVABLE_LABEL: _optional_text(record.label, "label"),
            names.SIGNATURE: _optional_text(record.signature_name, "signature_name"),
            names.EXPIRY_TIME: _deadline(record.deadline),
            names.METADATA: names.METADATA_ABSENT if record.metadata is None else None,
            **{name: _optional_text(getattr(record, name), name) for name in names.TRACE},
        }
        found = [(name, text.encode()) for name, text in texts.items() if text is not None]
        if record.dataref is not None:
            found += reference_of(record.dataref, record.dataref_sha256)
        return found


def _record_id(given: str | uuid.UUID | None) -> str:
    if given is None:
        return new_record_id()
    if isinstance(given, uuid.UUID):
        return str(given)
    try:
        return canonical_record_id(given)
    except (TypeError, ValueError):  # UnicodeEncodeError is one too
        raise InvalidRecordError("record_id", f"must be {WANTED}, found {_shown(given)}") from None


def _key(given: Any, record_id: str) -> bytes:
    if given is None:
        return record_id.encode()
    return given if isinstance(given, bytes) else _text(given, "key").encode()


def _text(given: Any, field: str) -> str:
    if not isinstance(given, str):
        raise InvalidRecordError(field, f"must be text, found {_shown(given)}")
    try:
        given.encode()
    except UnicodeEncodeError:
        raise InvalidRecordError(field, f"has no UTF-8: {given!a}") from None
    return given


def _optional_text(given: Any, field: str) -> str | None:
    return None if given is None else _text(given, field)


def _version(version: Any) -> str | None:
    if version is None:
        return None
    if not isinstance(version, (int, np.integer)) or isinstance(version, bool):
        raise InvalidRecordError("version", f"must be a whole number, found {_shown(version)}")
    if not 0 <= version <= names.MAX_VERSION:
        raise InvalidRecordError("version", f"must be from 0 to 2^63 - 1, found {version}")
    return str(version)


def _deadline(deadline: Any) -> str | None:
    if deadline is None:
        return None
    if not isinstance(deadline, datetime):
        raise InvalidRecordError(
            "deadline", f"must be a datetime with its offset, found {_shown(deadline)}"
        )
    if deadline != deadline:  # pandas' NaT, a datetime to isinstance: no deadline in this row
        return None
    if deadline.utcoffset() is None:
        raise InvalidRecordError("deadline", "must have its offset from UTC (tzinfo)")
    return write_time(deadline)


def _metadata(metadata: Any) -> bytes | None:
    if metadata is None or metadata is STORED_ELSEWHERE:
        return None
    if not isinstance(metadata, Mapping):
        raise InvalidRecordError("metadata", f"must be a mapping, found {_shown(metadata)}")
    return json_object(metadata, "metadata")


def _body(record: Record) -> tuple[str, bytes]:
    given = [form for form in _FORMS if getattr(record, form) is not None]
    if len(given) != 1:
        raise InvalidRecordError("record", f"{_ONE_FORM}; found {', '.join(given) or 'none'}")
    (form,) = given
    content = getattr(record, form)
    if form == "body":
        return body_of(content, record.content_type)
    if form == "dataref":
        if record.content_type is None:
            raise InvalidRecordError("content_type", "is missing: that of the body at dataref")
        # Empty, not null: a topic that is compacted would take a null for a deletion.
        return body_of(b"", record.content_type)
    if record.content_type is not None:
        raise InvalidRecordError("content_type", f"belongs to body; found {form}")
    if form == "tensors":
        return names.PROTOBUF_CONTENT_TYPE, _tensors(content)
    read = {"instance": instance_of, "instances": rows_of, "inputs": inputs_of}[form]
    return names.JSON_CONTENT_TYPE, json_body(form, read(content, form))


def _tensors(content: Any) -> bytes:
    # Here, so that who speaks JSON alone never loads protobuf.
    from topicserve.wire.protobuf_codec import encode_predict_request

    try:
        return encode_predict_request(tensors_of(content, "tensors"))
    except InvalidRecordError:
        raise
    except ValueError as error:
        raise InvalidRecordError("tensors", str(error)) from None


def _shown(value: Any) -> str:
    text = repr(value)
    return (
        f"{type(value).__name__} {text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + '...'}"
    )
