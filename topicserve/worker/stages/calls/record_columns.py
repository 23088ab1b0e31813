"""One record becomes columns, whichever of its forms it came in.

What has rows the signature says (`Scope`). In column format and protobuf everything comes as the
tensor that it is. In row format an input with rows has one value in each row, and one for the whole
call has the same value in all of them. Where it cannot be told, `instances` are stacked, as TF
Serving does, and a lone `instance` is taken as it is written.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from topicserve.protos.metadata_uid import METADATA_UID
from topicserve.servables.kinds.defaults import must_be_alone, with_rows_of_defaults
from topicserve.servables.kinds.example_rows import examples_of_columns, examples_of_rows
from topicserve.servables.kinds.predict_checks import ALONE_REMEDY, shape_fits
from topicserve.servables.kinds.servable import Columns, Scope, Signature, TensorSpec
from topicserve.wire.bodies.value_rows import ValueRows
from topicserve.wire.input_record import InputRecord
from topicserve.wire.json_codec.body import Form
from topicserve.wire.json_codec.number_rows import NumberRows
from topicserve.wire.json_codec.text import LARGE_BYTES, one_large_tree
from topicserve.wire.tensor_layouts.requests import RequestLayout
from topicserve.worker.stages.calls.arrays import Array, InvalidInputError, dtype_name
from topicserve.worker.stages.calls.columns import (
    check_names,
    columns_of_rows,
    fit,
    no_rows,
    numbers_at_once,
    to_array,
    values_by_name,
)
from topicserve.worker.stages.calls.string_rows import string_row, strings_at_once

# Forms of which `content` is text or bytes that become a tree.
_TREES = (Form.INSTANCE, Form.CUSTOM)


@dataclass(frozen=True, slots=True)
class RecordColumns:
    """A record's columns, and what they say of its rows."""

    columns: Columns
    count: int
    """How many rows it has; a record without any counts as one."""
    has_rows: bool
    """Whether outputs of which it cannot be told may have rows: some input has."""
    stacked: tuple[str, ...]
    """Inputs of which it could not be told, and that have the record's rows."""
    is_alone: bool
    """Whether it must have a call of its own."""


def read_record(record: InputRecord, signature: Signature) -> RecordColumns:
    """Return one record's columns, or raise InvalidInputError or InvalidRecordError."""
    if record.is_undecoded or (record.form in _TREES and len(record.content) > LARGE_BYTES):
        with one_large_tree:
            return _read(record, signature)
    return _read(record, signature)


def _read(record: InputRecord, signature: Signature) -> RecordColumns:
    form, payload, count = record.form, record.payload, None
    if form is Form.CUSTOM:
        form, payload = payload
    stacked: list[str] = []
    if form is Form.TENSORS:
        columns = _tensors(payload, signature)
    elif form is Form.INPUTS:
        columns = _inputs(payload, signature)
    else:
        if form is Form.ROW:
            payload = string_row(payload, signature, record)
        rows = payload if form is Form.INSTANCES else [payload]
        count = len(rows)
        columns = _rows(rows, form, signature, stacked)
    if signature.defaults:
        columns = with_rows_of_defaults(columns, signature, count or 1)
    found = _count(columns, signature)
    if found == 0:
        raise no_rows(_empty(columns, signature))
    if count is not None and found is not None and found != count:
        names = ", ".join(signature.inputs)
        raise InvalidInputError(f"{names}: must have {count} rows as the record, found {found}")
    given = any(signature.inputs[name].scope is Scope.ROW for name in columns)
    return RecordColumns(
        columns,
        count or found or 1,
        has_rows=found is not None or bool(stacked),
        stacked=tuple(stacked),
        is_alone=not (signature.joins_records and given) or must_be_alone(signature, columns),
    )


def read_alike(
    layout: RequestLayout | NumberRows | ValueRows,
    contents: Sequence[bytes],
    signature: Signature,
) -> tuple[Columns, list[int]]:
    """Return the columns of bodies of one layout, and their rows, or raise InvalidInputError.

    For a signature whose inputs all have rows. What is raised does not tell which record is at
    fault: `read_record` does. Not for a record that must have a call of its own.
    """
    if isinstance(layout, ValueRows):
        return strings_at_once(layout, contents, signature), [1] * len(contents)
    if isinstance(layout, NumberRows):
        found = numbers_at_once(contents, layout.rows_of, signature, in_objects=layout.in_objects)
        if found is None or layout.name not in (None, *signature.inputs):
            raise InvalidInputError("must be read one by one")
        return found
    tensors = layout.read_all(contents)
    if not tensors or METADATA_UID in signature.inputs or signature.features is not None:
        raise InvalidInputError("must be read one by one")
    columns = _tensors(tensors, signature)
    if must_be_alone(signature, columns):
        raise InvalidInputError("must have a call of its own")
    _count(columns, signature)
    rows = len(next(iter(columns.values()))) // len(contents)
    return columns, [rows] * len(contents)


def same_in(array: Array) -> Any:
    """Return what is equal for arrays of one dtype, shape and content, bit by bit."""
    content = tuple(array.ravel().tolist()) if array.dtype.hasobject else array.tobytes()
    return array.dtype.str, array.shape, content


def _count(columns: Columns, signature: Signature) -> int | None:
    """Return how many rows the inputs have, those that are left out too; None without any."""
    counts = {
        name: len(column)
        for name, column in columns.items()
        if signature.inputs[name].scope is Scope.ROW
    }
    if len(set(counts.values())) > 1:
        raise InvalidInputError(
            f"inputs differ in their number of rows: {counts}; for a model that takes them so, "
            f"{ALONE_REMEDY}"
        )
    left_out = [
        default.shape[0] if default.ndim else 1
        for name, default in signature.defaults.items()
        if name not in columns and signature.inputs[name].scope is Scope.ROW
    ]
    return next(iter(counts.values()), max(left_out, default=None))


def _empty(columns: Columns, signature: Signature) -> str:
    """Return the name of an input with rows that has none."""
    is_by_row = {name: signature.inputs[name].scope is Scope.ROW for name in columns}
    return next((n for n in columns if is_by_row[n] and not len(columns[n])), "inputs")


def _inputs(payload: Any, signature: Signature) -> Columns:
    """Return the columns of TF Serving's column format."""
    if signature.features is not None:
        if isinstance(payload, dict):
            return examples_of_columns(payload, signature)
        if not isinstance(payload, list):
            raise InvalidInputError("must be a list of rows")
        return examples_of_rows(payload, signature)
    specs = signature.inputs
    if not isinstance(payload, dict):
        payload = values_by_name([payload], signature)
        payload = {name: values[0] for name, values in payload.items()}
    check_names(payload, signature)
    columns = {}
    for name, value in payload.items():
        spec = specs[name]
        if spec.scope is not Scope.ROW:
            columns[name] = _whole(value, spec, name)
        elif isinstance(value, list):
            columns[name] = to_array(value, spec, name)
        else:
            raise InvalidInputError(f"{name}: must be a list of rows")
    return columns


def _tensors(tensors: Columns, signature: Signature) -> Columns:
    specs = signature.inputs
    given = tensors
    if METADATA_UID in tensors and METADATA_UID not in specs:
        given = {name: tensor for name, tensor in tensors.items() if name != METADATA_UID}
        _check_record_id(tensors[METADATA_UID])
    if signature.features is not None:
        return examples_of_columns(given, signature)
    check_names(given, signature)
    columns = {}
    for name, tensor in given.items():
        spec = specs[name]
        if tensor.dtype != spec.dtype:
            raise InvalidInputError(
                f"{name}: must be {dtype_name(spec)}, found {tensor.dtype.name}"
            )
        if spec.scope is not Scope.ROW:
            columns[name] = fit(tensor[None], spec, name)[0, ...]
        elif tensor.ndim:
            columns[name] = fit(tensor, spec, name)
        else:
            raise InvalidInputError(f"{name}: is a scalar; it must have rows")
    return columns


def _check_record_id(tensor: Array) -> None:
    """Refuse what no record id can be, also where a header gives the id."""
    if tensor.dtype != object or len(set(tensor.ravel().tolist())) != 1:
        found = dtype_name(TensorSpec(tensor.dtype))
        raise InvalidInputError(
            f"{METADATA_UID}: must be one string, found {found} of shape {list(tensor.shape)}; "
            "the signature has no such input"
        )


def _rows(rows: Sequence[Any], form: Form, signature: Signature, stacked: list[str]) -> Columns:
    """Return the columns of the row formats; note which of unknown scope were stacked."""
    if signature.features is not None or signature.takes_only_rows:
        return columns_of_rows(rows, signature)
    columns = {}
    for name, values in values_by_name(rows, signature).items():
        spec = signature.inputs[name]
        if spec.scope is Scope.ROW:
            columns[name] = to_array(values, spec, name)
        elif spec.scope is Scope.CALL:
            columns[name] = _only(to_array(values, spec, name), name)
        else:
            columns[name], is_stacked = _untold(values, form, spec, name)
            stacked += [name] if is_stacked else []
    return columns


def _untold(values: Sequence[Any], form: Form, spec: TensorSpec, name: str) -> tuple[Array, bool]:
    """Return an input of unknown scope, and whether its rows are its first dimension."""
    array = to_array(values, TensorSpec(spec.dtype), name)
    if spec.shape is None:
        if form is not Form.INSTANCES:
            return array[0, ...], False
        return array, True
    if array.ndim == len(spec.shape) and shape_fits(array.shape, spec.shape):
        return array, True
    return _only(fit(array, spec, name), name), False


def _whole(value: Any, spec: TensorSpec, name: str) -> Array:
    """Return a tensor of any dimensions, read as the only row of a column."""
    return to_array([value], spec, name)[0, ...]


def _only(column: Array, name: str) -> Array:
    """Return the value that all rows of a record have."""
    if len(column) > 1 and not _are_all_same(column):
        raise InvalidInputError(
            f"{name}: belongs to the whole call, and must be the same in all rows of a record"
        )
    return column[0, ...]


def _are_all_same(rows: Array) -> bool:
    """Return whether `same_in` is the same for each row; a record may have half a million."""
    if rows.dtype.hasobject:
        items = rows.ravel().tolist()
        return bool(items == items[: len(items) // len(rows)] * len(rows))
    octets = np.ascontiguousarray(rows).reshape(len(rows), -1).view(np.uint8)
    return bool((octets == octets[0]).all())
