"""Records as they travel: CloudEvents headers over TensorFlow Serving's bodies."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import orjson

from topicserve.producer.json_bytes import json_bytes
from topicserve.producer.record import STORED_ELSEWHERE, Record
from topicserve.wire import headers as names
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.kafka_record import OutgoingRecord

_JSON_FORMS = ("instance", "instances", "inputs")
_FORMS = (*_JSON_FORMS, "tensors")
_ONE_FORM = "must be given in exactly one form: " + ", ".join(_FORMS)


class EncodedRecord(NamedTuple):
    """A record ready to go: what Kafka gets, and what the metadata store gets before."""

    record_id: str
    outgoing: OutgoingRecord
    metadata: bytes | None
    size_bytes: int


class RecordEncoder:
    """Encodes records for one topic; what they leave open is filled in. Any thread may call it."""

    def __init__(self, topic: str, source: str, servable: str | None = None) -> None:
        if not source:
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
            names.SERVABLE: record.servable or self._servable,
            names.SERVABLE_VERSION: _version(record.version),
            names.SERVABLE_LABEL: record.label,
            names.SIGNATURE: record.signature_name,
            names.DEADLINE: _deadline(record.deadline),
            names.METADATA: names.METADATA_ABSENT if record.metadata is None else None,
            **dict(zip(names.TRACE, (record.traceparent, record.tracestate), strict=True)),
        }
        return [(name, text.encode()) for name, text in texts.items() if text is not None]


def _record_id(given: str | uuid.UUID | None) -> str:
    if given is None:
        return str(uuid.uuid4())
    try:
        return str(uuid.UUID(str(given)))
    except ValueError:
        raise InvalidRecordError("record_id", f"must be a UUID, found {given!r}") from None


def _key(given: str | bytes | None, record_id: str) -> bytes:
    if given is None:
        return record_id.encode()
    return given.encode() if isinstance(given, str) else given


def _version(version: int | None) -> str | None:
    if version is not None and not 0 <= version <= names.MAX_VERSION:
        raise InvalidRecordError("version", f"must be from 0 to 2^63 - 1, found {version}")
    return None if version is None else str(version)


def _deadline(deadline: datetime | None) -> str | None:
    if deadline is not None and deadline.utcoffset() is None:
        raise InvalidRecordError("deadline", "must have its offset from UTC (tzinfo)")
    return None if deadline is None else deadline.isoformat()


def _metadata(metadata: Any) -> bytes | None:
    if metadata is None or metadata is STORED_ELSEWHERE:
        return None
    if not isinstance(metadata, Mapping):
        raise InvalidRecordError("metadata", "must be an object (a mapping)")
    return json_bytes(dict(metadata), "metadata")


def _body(record: Record) -> tuple[str, bytes]:
    given = [form for form in _FORMS if getattr(record, form) is not None]
    if len(given) != 1:
        raise InvalidRecordError("record", f"{_ONE_FORM}; found {given or 'none'}")
    (form,) = given
    content = getattr(record, form)
    if form == "tensors":
        return names.PROTOBUF_CONTENT_TYPE, _tensors(content)
    if form != "instance":
        _check_rows(form, content)
    body = json_bytes({form: content}, form)
    if b"null" in body:
        _refuse_null(orjson.loads(body)[form], form)
    return names.JSON_CONTENT_TYPE, body


def _tensors(columns: Mapping[str, Any]) -> bytes:
    # Here, so that who speaks JSON alone never loads protobuf.
    from topicserve.wire.protobuf_codec import encode_predict_request

    _check_rows("tensors", columns)
    try:
        return encode_predict_request(columns)
    except ValueError as error:
        raise InvalidRecordError("tensors", str(error)) from None


def _check_rows(form: str, content: Any) -> None:
    column = content
    if form != "instances" and isinstance(content, Mapping):
        column = next(iter(content.values()), None)
    listed = isinstance(column, np.ndarray) and column.ndim > 0
    listed = listed or (isinstance(column, Sequence) and not isinstance(column, (str, bytes)))
    if column is None or not listed or len(column) == 0:
        raise InvalidRecordError(form, "must hold at least one row")


def _refuse_null(node: Any, field: str) -> None:
    """Raise for a null anywhere: no tensor holds one, and JSON has none other for not-a-number."""
    if node is None:
        raise InvalidRecordError(
            field, "is None, not-a-number or infinite, which JSON cannot say; tensors can"
        )
    if isinstance(node, list):
        for index, item in enumerate(node):
            _refuse_null(item, f"{field}[{index}]")
    if isinstance(node, dict):
        for name, item in node.items():
            _refuse_null(item, f"{field}.{name}")
