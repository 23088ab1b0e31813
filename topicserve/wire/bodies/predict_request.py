"""Protobuf: TensorFlow Serving's PredictRequest, answered with its PredictResponse."""

from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from numpy.typing import NDArray

from topicserve.protos.metadata_uid import METADATA_UID
from topicserve.wire import header_names as names
from topicserve.wire.bodies.asked import Asked
from topicserve.wire.bodies.options import need_no_options
from topicserve.wire.bodies.registry import CodecOf
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.headers import InputHeaders, read_id
from topicserve.wire.input_record import InputReader, InputRecord
from topicserve.wire.json_codec.body import Form
from topicserve.wire.limits import check_name
from topicserve.wire.protobuf_codec import (
    columns_bytes,
    decode_predict_request,
    described,
    unfolded,
)
from topicserve.wire.result_encoder import Origin
from topicserve.wire.tensor_layouts.requests import RequestLayout
from topicserve.wire.tensor_layouts.responses import ResponseWriter

# Columns that take more, and more than so many times their message, are read again later.
_KEPT_TIMES, _KEPT_BYTES = 2, 64 * 1024


class PredictRequestCodec:
    """Reads PredictRequests and writes PredictResponses."""

    content_type = names.PROTOBUF_CONTENT_TYPE

    def decode(
        self, headers: InputHeaders, value: bytes | None, reader: InputReader
    ) -> InputRecord:
        """Return a message of a known layout as it is, and the tensors of all others."""
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
                names.ID,
                'is missing, and so is the string input "metadata_uid" that may stand for it',
            )
        return InputRecord(
            record_id,
            target,
            Form.TENSORS,
            content,
            asked.rows,
            self,
            deadline,
            envelope.metadata_absent,
            trace,
            asked.output_filter,
            size + asked.held_bytes,
            reader.limits,
            layout,
        )

    def payload(self, record: InputRecord) -> dict[str, NDArray[Any]]:
        """Return the tensors by input name."""
        if isinstance(record.layout, RequestLayout):
            return record.layout.read(record.content)
        if record.is_undecoded:
            return dict(decode_predict_request(bytes(record.content), record.limits).columns)
        return unfolded(record.content)

    def writer(
        self, origin: Origin, outputs: Mapping[str, NDArray[Any]], whole: Collection[str]
    ) -> ResponseWriter:
        """Return what writes PredictResponses."""
        return ResponseWriter(
            origin.servable, origin.version, origin.signature_name, outputs, whole
        )


PREDICT_REQUEST = PredictRequestCodec()


def make_body(options: Mapping[str, object]) -> CodecOf:
    """Return what reads PredictRequests; there are no options."""
    need_no_options(options, "predict_request")
    return lambda *_: PREDICT_REQUEST


def _read_tensors(
    value: bytes | None, reader: InputReader, *, needs_id: bool
) -> tuple[Asked, Any, bytes | None]:
    """Return what a message says, its content, and the string that may be its record id."""
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
