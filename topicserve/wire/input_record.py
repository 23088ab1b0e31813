"""Input records: CloudEvents 1.0 headers (binary mode) over TF Serving's bodies.

It reads and checks one record; it knows no model. What a body's values mean for a signature is
decided when the batch's columns are built.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from topicserve.protos.metadata_uid import METADATA_UID
from topicserve.wire import header_names as names
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.headers import HeaderReader, InputHeaders, ServableSpec, read_id
from topicserve.wire.json_codec.body import (
    Form,
    lone_row,
    read_json_body,
    row_bytes,
    row_of,
    tree_of,
)
from topicserve.wire.json_codec.number_rows import NumberRows
from topicserve.wire.kafka_record import KafkaRecord
from topicserve.wire.limits import DEFAULT_LIMITS, Limits, check_name
from topicserve.wire.record_id import WANTED
from topicserve.wire.tensor_layouts.requests import Asked, RequestLayout, RequestLayouts

_INSTANCE = Form.INSTANCE  # looked at once a record: a global costs less than a member


# Columns that take more, and more than so many times their message, are read again later.
_KEPT_TIMES, _KEPT_BYTES = 2, 64 * 1024


class InputRecord(msgspec.Struct, frozen=True, gc=False):
    """What one record asks for.

    `content` is undecoded JSON for Form.INSTANCE (see `lone_row`), a tree for the other JSON forms,
    and for Form.TENSORS the whole message where its `layout` is known, else numpy arrays by input
    name, folded where they repeat a value. Content that is large, or takes many times its text in
    memory, is the body itself as Raw (`is_undecoded`).
    `rows` is how many rows it has: exact for the two row formats where rows are alike, and else an
    estimate, since the signature says which inputs have rows.
    """

    record_id: str
    target: ServableSpec
    form: Form
    content: Any
    rows: int
    deadline: datetime | None = None
    metadata_absent: bool = False
    trace: tuple[tuple[str, bytes | None], ...] = ()
    output_filter: tuple[str, ...] = ()
    """Protobuf only: the outputs that are wanted; empty means all."""
    held_bytes: int = 0
    """About how much memory the headers and the decoded content take, once it is unfolded."""
    limits: Limits = DEFAULT_LIMITS
    layout: RequestLayout | NumberRows | None = None
    """Where `content`, then the whole body, holds its numbers; what is between may be no JSON."""

    @property
    def is_undecoded(self) -> bool:
        """Return whether the content is the body itself, decoded each time that it is asked for."""
        return type(self.content) is msgspec.Raw

    @property
    def payload(self) -> Any:
        """Return the content decoded, or raise InvalidRecordError naming the place at fault."""
        if self.form is _INSTANCE:
            return row_of(self.content, self.limits)
        if isinstance(self.layout, RequestLayout):
            return self.layout.read(self.content)
        if self.form is Form.TENSORS:
            from topicserve.wire.protobuf_codec import decode_predict_request, unfolded

            if self.is_undecoded:
                return decode_predict_request(bytes(self.content), self.limits).columns
            return unfolded(self.content)
        return tree_of(self.content, self.form, self.limits) if self.is_undecoded else self.content


class InputReader:
    """Reads input records within limits, and remembers what they repeat.

    One thread uses it at a time.
    """

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self.limits = limits
        self.read_headers = HeaderReader(limits).read
        self.layouts = RequestLayouts()


_default_reader = InputReader()


def decode_input(record: KafkaRecord, reader: InputReader = _default_reader) -> InputRecord:
    """Return what a record asks for, or raise InvalidRecordError with the field at fault.

    A lone row's own content is not yet looked at: `payload` does, or what reads many at once.
    """
    headers = record_id, envelope, deadline, trace, size = reader.read_headers(record.headers)
    value = record.value
    if envelope.content_type == names.PROTOBUF_CONTENT_TYPE:
        return _from_tensors(headers, value, reader)
    if record_id is None:
        raise InvalidRecordError(names.ID, f"is missing; it must be {WANTED}")
    target, content, form, rows = envelope.target, lone_row(value), _INSTANCE, 1
    layout = None
    if content is None:
        body = read_json_body(value, reader.limits)
        target = _with_signature(target, body.signature_name, reader.limits)
        content, form, rows, size = body.content, body.form, body.rows, size + body.held_bytes
        layout = body.number_rows
    else:
        size += row_bytes(content)
    return InputRecord(
        record_id,
        target,
        form,
        content,
        rows,
        deadline,
        envelope.metadata_absent,
        trace,
        (),
        size,
        reader.limits,
        layout,
    )


def _with_signature(target: ServableSpec, name: str | None, limits: Limits) -> ServableSpec:
    if not name or name == target.signature_name:
        return target
    check_name("signature_name", name, limits)
    return msgspec.structs.replace(target, signature_name=name)


def _from_tensors(headers: InputHeaders, value: bytes | None, reader: InputReader) -> InputRecord:
    record_id, envelope, deadline, trace, size = headers
    layout = None if value is None else reader.layouts.find(value)
    content: Any = value
    if value is None or layout is None:
        asked, content, uid = _read_tensors(value, reader, needs_id=record_id is None)
        target = asked.target(envelope.target)
    else:
        asked, uid = layout.asked, layout.uid(value)
        target = layout.target(envelope.target)
    record_id = record_id or read_id(uid)
    if record_id is None:
        raise InvalidRecordError(
            names.ID, 'is missing, and so is the string input "metadata_uid" that may stand for it'
        )
    return InputRecord(
        record_id,
        target,
        Form.TENSORS,
        content,
        asked.rows,
        deadline,
        envelope.metadata_absent,
        trace,
        asked.output_filter,
        size + asked.held_bytes,
        reader.limits,
        layout,
    )


def _read_tensors(
    value: bytes | None, reader: InputReader, *, needs_id: bool
) -> tuple[Asked, Any, bytes | None]:
    """Return what a message says, its content, and the string that may be its record id."""
    # Here, so that who speaks JSON alone never loads protobuf.
    from topicserve.wire.protobuf_codec import (
        columns_bytes,
        decode_predict_request,
        described,
    )

    limits = reader.limits
    body = decode_predict_request(value, limits, keep_folded=True)
    for field, name in (
        ("model_spec.name", body.servable_name),
        ("model_spec.version_label", body.label),
        ("model_spec.signature_name", body.signature_name),
    ):
        check_name(field, name, limits)
    columns = body.columns
    if needs_id and body.metadata_uid is None and METADATA_UID in columns:
        found = described(columns[METADATA_UID])
        raise InvalidRecordError(
            f"inputs.{METADATA_UID}",
            f"must be one string, found {found}; or give the record id as {names.ID}",
        )
    asked = Asked(
        body.servable_name,
        body.version,
        body.label,
        body.signature_name,
        body.output_filter,
        _rows(columns),
        columns_bytes(columns),
    )
    message = value or b""
    reader.layouts.note(message, asked, columns, METADATA_UID)
    is_kept = asked.held_bytes <= max(_KEPT_TIMES * len(message), _KEPT_BYTES)
    return asked, columns if is_kept else msgspec.Raw(message), body.metadata_uid


def _rows(columns: Mapping[str, Any]) -> int:
    """Return the first dimension that there is: which inputs have rows the signature says."""
    return max(next((int(c.shape[0]) for c in columns.values() if c.ndim), 1), 1)
