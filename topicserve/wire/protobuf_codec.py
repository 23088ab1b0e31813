"""Protobuf bodies: TensorFlow Serving's PredictRequest and PredictResponse, bit for bit.

Any client that can fill TensorFlow Serving's own message can publish a record, and read the result.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError, Message
from numpy.typing import NDArray

from topicserve.protos.predict_pb2 import ModelSpec, PredictRequest, PredictResponse
from topicserve.protos.tensor_pb2 import TensorProto
from topicserve.protos.tensors import from_tensor_proto, to_tensor_proto
from topicserve.wire.errors import InvalidRecordError

METADATA_UID = "metadata_uid"
"""The string input that may carry the record id where the header is missing."""

MAX_REPEATED_ELEMENTS = 4 * 1024 * 1024
"""What the tensors of one body may unfold to, where that is more elements than the body has bytes.

A tensor of one value may have any shape: without a limit, a record of 30 bytes takes all memory.
"""

Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class PredictBody:
    """A PredictRequest or PredictResponse, read.

    `columns` are the tensors by name, as they came; strings are bytes in arrays of dtype object.
    `metadata_uid` is among them, last, where it was sent: whoever feeds a model leaves it out
    unless the signature declares it. What the message does not say is None.
    """

    columns: Columns
    servable_name: str | None = None
    version: int | None = None
    label: str | None = None
    signature_name: str | None = None
    output_filter: tuple[str, ...] = ()
    metadata_uid: bytes | None = None
    """The one string of that input; None where it holds anything else."""


def decode_predict_request(value: bytes | None) -> PredictBody:
    """Return a request's body, or raise InvalidRecordError naming the field at fault."""
    request = PredictRequest()
    _parse(request, value)
    columns = _read_tensors(request.inputs, "inputs")
    if METADATA_UID in columns:
        columns[METADATA_UID] = columns.pop(METADATA_UID)
    return _body(
        request.model_spec,
        columns,
        output_filter=tuple(request.output_filter),
        metadata_uid=_only_string(columns.get(METADATA_UID)),
    )


def decode_predict_response(value: bytes | None) -> PredictBody:
    """Return a response's body, or raise InvalidRecordError naming the field at fault."""
    response = PredictResponse()
    _parse(response, value)
    return _body(response.model_spec, _read_tensors(response.outputs, "outputs"))


def encode_predict_request(
    columns: Columns,
    *,
    servable_name: str | None = None,
    version: int | None = None,
    label: str | None = None,
    signature_name: str | None = None,
    output_filter: Sequence[str] = (),
) -> bytes:
    """Return a request for columns that have their batch dimension.

    Raises ValueError for a dtype that tensors do not have, or both a version and a label.
    """
    if version is not None and label is not None:
        raise ValueError("give a version or a label, not both")
    request = PredictRequest(output_filter=output_filter)
    spec = request.model_spec
    spec.name = servable_name or ""
    spec.signature_name = signature_name or ""
    if version is not None:
        spec.version.value = version
    if label is not None:
        spec.version_label = label
    _write_tensors(columns, request.inputs)
    return request.SerializeToString()


def encode_predict_response(
    columns: Columns, servable_name: str, version: int, signature_name: str
) -> bytes:
    """Return the response of a version; raises ValueError for a dtype that tensors do not have."""
    response = PredictResponse()
    response.model_spec.name = servable_name
    response.model_spec.version.value = version
    response.model_spec.signature_name = signature_name
    _write_tensors(columns, response.outputs)
    return response.SerializeToString()


def _parse(message: Message, value: bytes | None) -> None:
    kind = message.DESCRIPTOR.name
    if value is None:
        raise InvalidRecordError("value", f"is null; a {kind} was expected")
    try:
        message.ParseFromString(value)
    except DecodeError as error:
        raise InvalidRecordError("value", f"is not a {kind}: {error}") from None


def _body(spec: ModelSpec, columns: Columns, **rest: Any) -> PredictBody:
    choice = spec.WhichOneof("version_choice")
    version = spec.version.value if choice == "version" else None
    if version is not None and version < 0:
        raise InvalidRecordError("model_spec.version", f"must not be negative, found {version}")
    return PredictBody(
        columns,
        servable_name=spec.name or None,
        version=version,
        label=spec.version_label or None,
        signature_name=spec.signature_name or None,
        **rest,
    )


def _read_tensors(tensors: Mapping[str, TensorProto], field: str) -> dict[str, NDArray[Any]]:
    room = MAX_REPEATED_ELEMENTS
    columns = {}
    for name, tensor in tensors.items():
        elements = _elements(tensor)
        if elements > tensor.ByteSize():
            room -= elements
        if room < 0:
            raise InvalidRecordError(
                f"{field}.{name}",
                f"unfolds to {elements} elements from {tensor.ByteSize()} bytes; "
                f"{MAX_REPEATED_ELEMENTS} are allowed in one body",
            )
        try:
            columns[name] = from_tensor_proto(tensor)
        except ValueError as error:
            raise InvalidRecordError(f"{field}.{name}", str(error)) from None
    return columns


def _elements(tensor: TensorProto) -> int:
    return math.prod(max(dim.size, 0) for dim in tensor.tensor_shape.dim)


def _write_tensors(columns: Columns, tensors: Any) -> None:
    for name, column in columns.items():
        tensors[name].CopyFrom(to_tensor_proto(column))


def _only_string(column: NDArray[Any] | None) -> bytes | None:
    """Return the one value of a string column; rows may repeat it."""
    if column is None or column.dtype != object:
        return None
    values = set(column.ravel().tolist())
    return values.pop() if len(values) == 1 else None
