"""Protobuf bodies: TensorFlow Serving's PredictRequest and PredictResponse, bit for bit.

Any client that can fill TensorFlow Serving's own message can publish a record, and read the result.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from google.protobuf.message import DecodeError, Message
from numpy.typing import NDArray

from topicserve.protos.metadata_uid import METADATA_UID
from topicserve.protos.predict_pb2 import ModelSpec, PredictRequest, PredictResponse
from topicserve.protos.tensor_pb2 import TensorProto
from topicserve.protos.tensors import (
    FoldedTensor,
    read_tensor,
    shape_of,
    to_dtype,
    to_tensor_proto,
)
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.limits import DEFAULT_LIMITS, Limits, check_name, exceeds, shortened

"""The string input that may carry the record id where the header is missing."""

# What a bytes object takes besides its content.
_STRING_BYTES = 40

Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class PredictBody:
    """A PredictRequest or PredictResponse, read.

    `columns` are the tensors by name, as they came; strings are bytes in arrays of dtype object,
    and what repeats a value is folded where that was asked for (see `unfolded`).
    `metadata_uid` is among them, last, where it was sent: what feeds a model leaves it out
    unless the signature declares it. What the message does not say is None.
    """

    columns: Mapping[str, Any]
    servable_name: str | None = None
    version: int | None = None
    label: str | None = None
    signature_name: str | None = None
    output_filter: tuple[str, ...] = ()
    metadata_uid: bytes | None = None
    """The one string of that input; None where it is missing, or holds anything else."""


def decode_predict_request(
    value: bytes | None, limits: Limits = DEFAULT_LIMITS, *, keep_folded: bool = False
) -> PredictBody:
    """Return a request's body, or raise InvalidRecordError naming the field at fault."""
    request = PredictRequest()
    _parse(request, value)
    for field, count in (
        ("inputs", len(request.inputs)),
        ("output_filter", len(request.output_filter)),
    ):
        if count > limits.max_inputs:
            raise exceeds(field, f"has {count} entries", "max_inputs", limits.max_inputs)
    columns = _read_tensors(request.inputs, "inputs", limits)
    if not keep_folded:
        columns = unfolded(columns)
    if METADATA_UID in columns:
        columns[METADATA_UID] = columns.pop(METADATA_UID)
    return _body(
        request.model_spec,
        columns,
        output_filter=tuple(request.output_filter),
        metadata_uid=only_string(columns.get(METADATA_UID)),
    )


def decode_predict_response(value: bytes | None) -> PredictBody:
    """Return a response's body, or raise InvalidRecordError naming the field at fault."""
    response = PredictResponse()
    _parse(response, value)
    return _body(
        response.model_spec, unfolded(_read_tensors(response.outputs, "outputs", DEFAULT_LIMITS))
    )


def unfolded(columns: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Return columns in which no tensor is folded any more."""
    return {
        name: column.unfold() if isinstance(column, FoldedTensor) else column
        for name, column in columns.items()
    }


def columns_bytes(columns: Mapping[str, Any]) -> int:
    """Return about how much memory columns take once they are unfolded."""
    size = 0
    for column in columns.values():
        size += column.nbytes
        if isinstance(column, FoldedTensor):
            column = column.values
        if column.dtype == object:
            size += sum([len(item) + _STRING_BYTES for item in column.flat])
    return size


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


def _read_tensors(tensors: Mapping[str, TensorProto], field: str, limits: Limits) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    size = 0
    for name, tensor in tensors.items():
        where = f"{field}.{shortened(name)}"
        check_name(where, name, limits)
        size += _invented_bytes(tensor, where, limits)
        if size > limits.max_unfolded_bytes:
            raise exceeds(
                where,
                f"unfolds to more than its message holds, {size} bytes with those before it",
                "max_unfolded_bytes",
                limits.max_unfolded_bytes,
            )
        try:
            columns[name] = read_tensor(tensor)
        except ValueError as error:
            raise InvalidRecordError(where, str(error)) from None
    return columns


def _invented_bytes(tensor: TensorProto, where: str, limits: Limits) -> int:
    """Return what a tensor takes that its message does not hold: repeated values, empty lists.

    A size of 0 counts as 1: an array without elements takes nothing, but as JSON it is a list of
    as many empty lists as the other sizes say.
    """
    dims = len(tensor.tensor_shape.dim)
    if dims > limits.max_dimensions:
        raise exceeds(where, f"has {dims} dimensions", "max_dimensions", limits.max_dimensions)
    try:
        itemsize = to_dtype(tensor.dtype).itemsize
        size = itemsize * prod(length or 1 for length in shape_of(tensor))
    except ValueError as error:
        raise InvalidRecordError(where, str(error)) from None
    # What is given in full is no larger than 16 bytes for each of the message's own.
    return size if size > 16 * tensor.ByteSize() else 0


def _write_tensors(columns: Columns, tensors: Any) -> None:
    for name, column in columns.items():
        tensors[name].CopyFrom(to_tensor_proto(column))


def only_string(column: NDArray[Any] | FoldedTensor | None) -> bytes | None:
    """Return the one value of a string column; rows may repeat it."""
    if isinstance(column, FoldedTensor):
        column = column.values
    if column is None or column.dtype != object:
        return None
    values = set(column.ravel().tolist())
    return values.pop() if len(values) == 1 else None


def described(column: NDArray[Any] | FoldedTensor) -> str:
    """Return what a column is, for messages."""
    dtype = column.values.dtype if isinstance(column, FoldedTensor) else column.dtype
    name = "strings" if dtype.hasobject else dtype.name
    return f"{name} of shape {list(column.shape)}"
