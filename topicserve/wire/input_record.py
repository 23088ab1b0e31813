"""Input records: CloudEvents 1.0 headers (binary mode) over TF Serving's REST bodies."""

import base64
import binascii
import uuid
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

import orjson

from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.kafka_record import Headers, KafkaRecord

JSON_CONTENT_TYPE = "application/json"
INPUT_TYPE = "topicserve.input"
_MAX_VERSION = 2**63 - 1
MAX_DEPTH = 64  # more dimensions than numpy or TensorFlow have


class Form(Enum):
    """How a JSON body holds its rows; the value is the body's own key."""

    INSTANCES = "instances"
    INPUTS = "inputs"
    INSTANCE = "instance"


@dataclass(frozen=True, slots=True)
class InputRecord:
    """What one record asks for.

    `payload` is the value under the form's key: nested lists, numbers, booleans, strings, bytes
    (from `{"b64": ...}`) and objects of named inputs. At most one of `version` and `label` is set.
    """

    record_id: str
    form: Form
    payload: Any
    servable: str | None = None
    version: int | None = None
    label: str | None = None
    signature_name: str | None = None
    deadline: datetime | None = None


def decode_input(record: KafkaRecord) -> InputRecord:
    """Return what a record asks for, or raise InvalidRecordError with the field at fault."""
    headers = _text_headers(record.headers)
    _expect(headers, "ce_specversion", "1.0")
    _expect(headers, "ce_type", INPUT_TYPE)
    if not headers.get("ce_source"):
        raise InvalidRecordError("ce_source", "is missing; CloudEvents requires it")
    _check_content_type(headers)
    version = _version(headers)
    label = headers.get("ce_servablelabel")
    if version is not None and label is not None:
        raise InvalidRecordError("ce_servablelabel", "give a version or a label, not both")
    form, payload, signature_name = _body(record.value)
    return InputRecord(
        record_id=_record_id(headers),
        form=form,
        payload=payload,
        servable=headers.get("ce_servable"),
        version=version,
        label=label,
        signature_name=signature_name or headers.get("ce_signature"),
        deadline=_deadline(headers),
    )


def _text_headers(headers: Headers) -> dict[str, str]:
    """Return the headers that are ours as text; others may hold any bytes."""
    ours = {}
    for name, value in headers:
        if name.startswith("ce_") or name == "content-type":
            try:
                ours[name] = (value or b"").decode()
            except UnicodeDecodeError:
                raise InvalidRecordError(name, "is not UTF-8") from None
    return ours


def _expect(headers: dict[str, str], name: str, wanted: str) -> None:
    found = headers.get(name)
    if found != wanted:
        raise InvalidRecordError(name, f"must be {wanted!r}, found {found!r}")


def _check_content_type(headers: dict[str, str]) -> None:
    content_type = headers.get("content-type")
    if content_type is None or content_type.partition(";")[0].strip().lower() != JSON_CONTENT_TYPE:
        raise InvalidRecordError(
            "content-type", f"must be {JSON_CONTENT_TYPE!r}, found {content_type!r}"
        )


def _record_id(headers: dict[str, str]) -> str:
    text = headers.get("ce_id")
    try:
        return str(uuid.UUID(text or ""))
    except ValueError:
        raise InvalidRecordError("ce_id", f"must be a UUID, found {text!r}") from None


def _version(headers: dict[str, str]) -> int | None:
    text = headers.get("ce_servableversion")
    if text is None:
        return None
    # The length is checked first: int() refuses very long digits with an error of its own.
    if text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= _MAX_VERSION:
        return int(text)
    raise InvalidRecordError(
        "ce_servableversion", f"must be a whole number up to 2^63 - 1, found {text!r}"
    )


def _deadline(headers: dict[str, str]) -> datetime | None:
    text = headers.get("ce_deadline")
    if text is None:
        return None
    try:
        deadline = datetime.fromisoformat(text)
    except ValueError:
        deadline = None
    if deadline is None or deadline.tzinfo is None:
        raise InvalidRecordError("ce_deadline", f"must be RFC 3339 with an offset, found {text!r}")
    return deadline


def _body(value: bytes | None) -> tuple[Form, Any, str | None]:
    if value is None:
        raise InvalidRecordError("value", "is null; a JSON object was expected")
    try:
        body = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise InvalidRecordError("value", f"is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise InvalidRecordError("value", "must be a JSON object")
    forms = [form for form in Form if form.value in body]
    if len(forms) != 1:
        raise InvalidRecordError(
            "value", 'must have exactly one of "instances", "inputs" and "instance"'
        )
    (form,) = forms
    signature_name = body.get("signature_name")
    if signature_name is not None and not isinstance(signature_name, str):
        raise InvalidRecordError("signature_name", "must be a string")
    payload = _with_bytes(body[form.value], form.value)
    if form is Form.INSTANCES and not (isinstance(payload, list) and payload):
        raise InvalidRecordError("instances", "must be a list of at least one row")
    return form, payload, signature_name


def _with_bytes(node: Any, field: str, depth: int = 0) -> Any:
    """Return the tree with every `{"b64": text}` replaced by its bytes, as TF Serving reads it."""
    if depth > MAX_DEPTH:
        raise InvalidRecordError(field, f"is nested more than {MAX_DEPTH} deep")
    if isinstance(node, list):
        # Rows of plain numbers are the common case and hold nothing to replace.
        if node and isinstance(node[0], float):
            return node if all(type(item) is float for item in node) else _items(node, field, depth)
        return _items(node, field, depth)
    if not isinstance(node, dict):
        return node
    if node.keys() == {"b64"}:
        return _bytes(node["b64"], field)
    return {name: _with_bytes(item, f"{field}.{name}", depth + 1) for name, item in node.items()}


def _items(nodes: list[Any], field: str, depth: int) -> list[Any]:
    return [_with_bytes(item, f"{field}[{index}]", depth + 1) for index, item in enumerate(nodes)]


def _bytes(text: Any, field: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise InvalidRecordError(f"{field}.b64", "is not base64") from None
