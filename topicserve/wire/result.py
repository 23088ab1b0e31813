"""Results as a reader sees them: what TF Serving answers to the same body, and the metadata.

For readers in any process, without the worker's code; `result_encoder.py` is the other side.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec
import orjson

from topicserve.wire import header_names as names
from topicserve.wire.errors import InvalidRecordError, reason_of
from topicserve.wire.json_codec.body import Form
from topicserve.wire.kafka_record import Headers, KafkaRecord

RESULT_KEYS = {Form.INSTANCES: "predictions", Form.INPUTS: "outputs", Form.INSTANCE: "prediction"}


class MetadataStatus(Enum):
    """What became of a record's metadata."""

    header: tuple[str, bytes | None]
    """How a result says it."""
    closing: bytes
    """How the body of a JSON result says it, last of all."""

    def __init__(self, value: str) -> None:
        # Looked up for every result: an attribute costs less than hashing a member.
        self.header = (names.METADATA_STATUS, value.encode())
        self.closing = b',"metadata_status":"%b"}' % value.encode()

    FOUND = "found"
    """The store had it, a JSON object."""
    MISSING = "missing"
    """The store had none under the record id: expired, never stored, or no Redis string."""
    ABSENT = "absent"
    """The producer declared that there is none; the store was not asked."""


class Metadata(msgspec.Struct, frozen=True, gc=False):
    """A record's metadata, an undecoded JSON object where it was found."""

    status: MetadataStatus
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """One result as a reader sees it.

    `value` is what TF Serving answers: for Form.INSTANCE the row's prediction, for Form.INSTANCES a
    list of them, for Form.INPUTS the outputs, for Form.TENSORS numpy arrays by output name, also of
    the Open Inference Protocol. For
    Form.CUSTOM, a body that is not ours, it is the value of the Kafka record, as bytes.
    """

    record_id: str
    """`ce_id` of the input record. Two results with one id are the same answer, given twice."""
    key: bytes | None
    """The Kafka key of the input record."""
    servable: str
    version: int
    """The version that answered."""
    signature_name: str
    """Empty for a body that is not ours, which may say it."""
    form: Form
    """The form of the input record, which says what `value` is."""
    value: Any
    metadata: Any
    """What the producer stored for the record, decoded from JSON; None unless it was found."""
    metadata_status: MetadataStatus
    worker_id: str | None
    """The worker that answered."""
    trace: tuple[tuple[str, bytes | None], ...]
    """W3C `traceparent` and `tracestate`, as they came with the input record."""
    record: KafkaRecord
    """The Kafka record itself: topic, partition, offset, timestamp and all headers."""


def decode_result(record: KafkaRecord) -> Result:
    """Return a record of an output topic as a result.

    Numbers of a JSON result are Python's; arrays of a protobuf result have the model's dtypes, with
    strings as dtype object of bytes. Raises InvalidRecordError naming the field at fault.
    """
    headers = text_headers(record.headers)
    if headers.get(names.TYPE) != names.RESULT_TYPE:
        raise InvalidRecordError(
            names.TYPE, f"must be {names.RESULT_TYPE!r}, found {headers.get(names.TYPE)!r}"
        )
    if not record.value and (url := headers.get(names.DATAREF)) is not None:
        problem = f"the result lies at {url}: give the reader a BodyReader that allows it"
        raise InvalidRecordError(names.DATAREF, problem)
    content_type = headers.get(names.CONTENT_TYPE, names.JSON_CONTENT_TYPE)
    if content_type == names.JSON_CONTENT_TYPE:
        return _decode_json(record)
    if content_type == names.PROTOBUF_CONTENT_TYPE:
        from topicserve.wire.protobuf_codec import decode_predict_response

        body = decode_predict_response(record.value)
        named = body.signature_name or ""
        return _decode_by_headers(record, headers, Form.TENSORS, body.columns, named)
    read = _open_inference_reader(content_type)
    if read is not None:
        return _decode_by_headers(record, headers, Form.TENSORS, read(record.value or b""), "")
    return _decode_by_headers(record, headers, Form.CUSTOM, record.value or b"", "")


def _open_inference_reader(content_type: str) -> Callable[[bytes], Any] | None:
    # Imported here: each needs what no other result does.
    if content_type == names.OPEN_INFERENCE_JSON:
        from topicserve.wire.bodies.open_inference import json_body

        return json_body.read_response
    if content_type == names.OPEN_INFERENCE_PROTOBUF:
        from topicserve.wire.bodies.open_inference import protobuf_body

        return protobuf_body.read_response
    return None


def text_headers(headers: Headers) -> dict[str, str]:
    """Return the headers that are text, for filtering without decoding the body."""
    texts = {}
    for name, value in headers:
        try:
            texts[name] = (value or b"").decode()
        except UnicodeDecodeError:
            continue  # another's
    return texts


def _decode_json(record: KafkaRecord) -> Result:
    try:
        body = orjson.loads(record.value or b"")
        form = next((form for form, key in RESULT_KEYS.items() if key in body), None)
        if form is None:
            raise ValueError(f"it has none of {', '.join(RESULT_KEYS.values())}")
        return Result(
            record_id=body["id"],
            key=record.key,
            servable=body["servable"]["name"],
            version=body["servable"]["version"],
            signature_name=body["signature_name"],
            form=form,
            value=body[RESULT_KEYS[form]],
            metadata=body["metadata"],
            metadata_status=MetadataStatus(body["metadata_status"]),
            worker_id=body.get("worker"),
            trace=_trace(record.headers),
            record=record,
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidRecordError("value", f"is not a result: {reason_of(error)}") from None


def _decode_by_headers(
    record: KafkaRecord, headers: Mapping[str, str], form: Form, value: Any, signature_name: str
) -> Result:
    try:
        metadata = headers.get(names.METADATA_JSON)
        return Result(
            record_id=headers[names.ID],
            key=record.key,
            servable=headers[names.SERVABLE],
            version=int(headers[names.SERVABLE_VERSION]),
            signature_name=signature_name,
            form=form,
            value=value,
            metadata=None if metadata is None else orjson.loads(metadata),
            metadata_status=MetadataStatus(headers[names.METADATA_STATUS]),
            worker_id=headers.get(names.WORKER),
            trace=_trace(record.headers),
            record=record,
        )
    except (ValueError, KeyError) as error:
        raise InvalidRecordError("headers", f"are not a result's: {reason_of(error)}") from None


def _trace(headers: Headers) -> tuple[tuple[str, bytes | None], ...]:
    return tuple(header for header in headers if header[0] in names.TRACE)
