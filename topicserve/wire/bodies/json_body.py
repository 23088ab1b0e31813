"""JSON: the bodies of TensorFlow Serving's REST predict call, and one row alone."""

from collections.abc import Mapping
from typing import Any

import msgspec

from topicserve.wire import header_names as names
from topicserve.wire.bodies.codec import AnsweredInJson
from topicserve.wire.bodies.options import need_no_options
from topicserve.wire.bodies.registry import CodecOf
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.headers import InputHeaders, ServableSpec
from topicserve.wire.input_record import InputReader, InputRecord
from topicserve.wire.json_codec.body import (
    Form,
    lone_row,
    read_json_body,
    row_bytes,
    row_of,
    tree_of,
)
from topicserve.wire.limits import Limits, check_name
from topicserve.wire.record_id import WANTED

_INSTANCE = Form.INSTANCE  # looked at once a record: a global costs less than a member


class JsonCodec(AnsweredInJson):
    """Reads JSON, and leaves lone rows and large bodies undecoded."""

    content_type = names.JSON_CONTENT_TYPE

    def decode(
        self, headers: InputHeaders, value: bytes | None, reader: InputReader
    ) -> InputRecord:
        """Return a lone row undecoded, and what is read as far as its batch needs it."""
        record_id, envelope, deadline, trace, size = headers
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
            self,
            deadline,
            envelope.metadata_absent,
            trace,
            (),
            size,
            reader.limits,
            layout,
        )

    def payload(self, record: InputRecord) -> Any:
        """Return a row, rows or columns as a tree."""
        content, limits = record.content, record.limits
        if record.form is _INSTANCE:
            return row_of(content, limits)
        is_undecoded = type(content) is msgspec.Raw
        return tree_of(content, record.form, limits) if is_undecoded else content


JSON = JsonCodec()


def make_body(options: Mapping[str, object]) -> CodecOf:
    """Return what reads JSON; there are no options."""
    need_no_options(options, "json")
    return lambda *_: JSON


def _with_signature(target: ServableSpec, name: str | None, limits: Limits) -> ServableSpec:
    if not name or name == target.signature_name:
        return target
    check_name("signature_name", name, limits)
    return msgspec.structs.replace(target, signature_name=name)
