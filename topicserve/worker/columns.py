"""Rows become columns: what a batch of requests feeds a signature with.

A batch of lone rows, the common case, is converted in one go. Where that fails, or where the
requests are of several forms, each is converted alone: so that the one at fault is found before the
batch is built, and those of different shapes go to different feeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from topicserve.servables.defaults import must_be_alone
from topicserve.servables.errors import InvalidArgumentError
from topicserve.servables.example_rows import examples_of_columns, examples_of_rows
from topicserve.servables.servable import Columns, Signature, TensorSpec
from topicserve.wire.dead_letter import Reason
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.input_record import InputRecord
from topicserve.wire.json_body import Form
from topicserve.wire.json_numbers import read_number_rows
from topicserve.wire.json_text import load_json
from topicserve.worker.arrays import (
    InvalidInputError,
    describe,
    dtype_name,
    narrow,
    read_array,
)
from topicserve.worker.request import Rejection, Request

Array = NDArray[Any]

_INSTANCE = Form.INSTANCE  # looked at once a record: a global costs less than a member

# A protobuf record may carry its id as an input; a model that does not declare it never sees it.
METADATA_UID = "metadata_uid"

# Up to here making Python lists is quicker than reading all rows' numbers at once, which has a
# fixed cost: 7 us instead of 26 for one row of 64 floats, and the same for some 6 KiB of them.
FEW_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Feed:
    """Requests whose rows fit one call, one after the other in `columns`."""

    requests: Sequence[Request]
    columns: Columns

    @property
    def rows(self) -> int:
        """Return how many rows the columns have."""
        return sum([request.input.rows for request in self.requests])

    def halves(self) -> tuple["Feed", "Feed"]:
        """Split between requests, never within one; needs at least two."""
        middle = len(self.requests) // 2
        row = sum(request.input.rows for request in self.requests[:middle])
        return (
            Feed(self.requests[:middle], {n: c[:row] for n, c in self.columns.items()}),
            Feed(self.requests[middle:], {n: c[row:] for n, c in self.columns.items()}),
        )


def build_feeds(
    requests: Sequence[Request], signature: Signature
) -> tuple[list[Feed], list[Rejection]]:
    """Return the feeds of a batch, in order, and the requests that fit none."""
    lone = [r.input.content for r in requests if r.input.form is _INSTANCE]
    # What is too large for a narrow float is infinite, as in TF Serving, and no news.
    with np.errstate(over="ignore"):
        if len(lone) == len(requests):
            columns = _columns_at_once(lone, signature)
            if columns is not None and not must_be_alone(signature, columns):
                return [Feed(requests, columns)], []
        return _feeds_one_by_one(requests, signature)


def _columns_at_once(contents: Sequence[bytes], signature: Signature) -> Columns | None:
    """Return the columns of a batch of lone rows; None where they must be looked at singly."""
    try:
        if sum(map(len, contents)) > FEW_BYTES:
            columns = _numbers_at_once(contents, signature)
            if columns is not None:
                return columns
        # Looking for a boolean here saves a look at the type of each number; base64 is decoded
        # record by record.
        if any(b"true" in c or b"false" in c or b'"b64"' in c for c in contents):
            return None
        rows = _rows_at_once(contents)
        return columns_of_rows(rows, signature, may_hold_booleans=False)
    except Exception:
        # Whatever a parser raises, it is no reason to stop: each is looked at alone.
        return None


def _rows_at_once(contents: Sequence[bytes]) -> list[Any]:
    try:
        return [orjson.loads(content)[Form.INSTANCE.value] for content in contents]
    except orjson.JSONDecodeError:  # one of them may have NaN or an infinity
        return [load_json(content)[Form.INSTANCE.value] for content in contents]


def _numbers_at_once(contents: Sequence[bytes], signature: Signature) -> Columns | None:
    """Return the only input's column, if it is of numbers in a declared shape and the rows fit."""
    if len(signature.inputs) != 1:
        return None
    ((name, spec),) = signature.inputs.items()
    kind, shape = spec.dtype.kind, spec.shape
    if kind in "bO" or shape is None:
        return None
    known = tuple(size for size in shape if size is not None)
    if len(known) != len(shape):
        return None
    array = read_number_rows(contents, known, spec.dtype)
    if array is None:
        return None
    return {name: narrow(array, spec, name)}


def _feeds_one_by_one(
    requests: Sequence[Request], signature: Signature
) -> tuple[list[Feed], list[Rejection]]:
    by_shape: dict[tuple[Any, ...], tuple[list[Request], list[Columns]]] = {}
    rejections = []
    for request in requests:
        try:
            columns = columns_of(request.input, signature)
        except (InvalidInputError, InvalidArgumentError) as error:
            rejections.append(Rejection(request, Reason.INVALID_INPUT, error))
        except InvalidRecordError as error:
            rejections.append(Rejection(request, Reason.INVALID_RECORD, error))
        else:
            shape = tuple((name, column.shape[1:]) for name, column in sorted(columns.items()))
            alone = len(by_shape) if must_be_alone(signature, columns) else None
            alike = by_shape.setdefault((alone, *shape), ([], []))
            alike[0].append(request)
            alike[1].append(columns)
    feeds = [Feed(alike, _concatenate(columns)) for alike, columns in by_shape.values()]
    return feeds, rejections


def _concatenate(many: Sequence[Columns]) -> Columns:
    if len(many) == 1:
        return many[0]
    return {name: np.concatenate([columns[name] for columns in many]) for name in many[0]}


def columns_of(record: InputRecord, signature: Signature) -> Columns:
    """Return one record's columns, or raise InvalidInputError or InvalidRecordError."""
    payload = record.payload
    if record.form is Form.TENSORS:
        return _checked_tensors(payload, record.rows, signature)
    if record.form is Form.INPUTS:
        return _columns_by_name(payload, record.rows, signature)
    rows = [payload] if record.form is Form.INSTANCE else payload
    return columns_of_rows(rows, signature)


def columns_of_rows(
    rows: Sequence[Any], signature: Signature, *, may_hold_booleans: bool = True
) -> Columns:
    """Return the columns of TF Serving's row format: plain values, or objects by input name."""
    if signature.features is not None:
        return examples_of_rows(rows, signature)
    specs = signature.inputs
    if not isinstance(rows[0], dict):
        if len(specs) != 1:
            raise InvalidInputError(
                f"each row must be an object of the inputs {_names(specs)}, "
                f"found {describe(rows[0])}"
            )
        ((name, spec),) = specs.items()
        return {name: to_array(rows, spec, name, may_hold_booleans=may_hold_booleans)}
    for row in rows:
        _check_names(row, signature)
    given = _given(rows, specs)
    return {
        name: to_array([row[name] for row in rows], spec, name, may_hold_booleans=may_hold_booleans)
        for name, spec in given.items()
    }


def _given(rows: Sequence[Any], specs: Mapping[str, TensorSpec]) -> Mapping[str, TensorSpec]:
    """Return the inputs that the rows have: fewer than all where some have defaults."""
    if len(rows[0]) == len(specs) and all(len(row) == len(specs) for row in rows):
        return specs
    for name in specs:
        if len({name in row for row in rows}) > 1:
            raise InvalidInputError(f"input {name!r} must be in all rows of a record, or in none")
    return {name: spec for name, spec in specs.items() if name in rows[0]}


def _columns_by_name(payload: Any, rows: int, signature: Signature) -> Columns:
    """Return the columns of TF Serving's column format."""
    specs = signature.inputs
    if signature.features is not None:
        build = examples_of_columns if isinstance(payload, dict) else examples_of_rows
        columns = build(payload, signature)
        _check_row_counts(columns, rows)
        return columns
    if not isinstance(payload, dict):
        if len(specs) != 1:
            raise InvalidInputError(f"must be an object of the inputs {_names(specs)}")
        payload = {next(iter(specs)): payload}
    _check_names(payload, signature)
    specs = {name: spec for name, spec in specs.items() if name in payload}
    for name in specs:
        if not isinstance(payload[name], list):
            raise InvalidInputError(f"{name}: must be a list of rows")
    columns = {name: to_array(payload[name], spec, name) for name, spec in specs.items()}
    _check_row_counts(columns, rows)
    return columns


def _checked_tensors(columns: Columns, rows: int, signature: Signature) -> Columns:
    specs = signature.inputs
    given = {n: c for n, c in columns.items() if n != METADATA_UID or METADATA_UID in specs}
    if signature.features is not None:
        examples = examples_of_columns(given, signature)
        _check_row_counts(examples, rows)
        return examples
    _check_names(given, signature)
    specs = {name: spec for name, spec in specs.items() if name in given}
    for name, spec in specs.items():
        if given[name].dtype != spec.dtype:
            raise InvalidInputError(
                f"{name}: must be {dtype_name(spec)}, found {given[name].dtype.name}"
            )
    _check_row_counts(given, rows)
    return {name: _fit(given[name], spec, name) for name, spec in specs.items()}


def _check_row_counts(columns: Columns, rows: int) -> None:
    counts = {name: column.shape[0] if column.ndim else 0 for name, column in columns.items()}
    if any(count != rows for count in counts.values()):
        raise InvalidInputError(f"inputs differ in their number of rows: {counts}")


def _check_names(given: Any, signature: Signature) -> None:
    specs = signature.inputs
    if not isinstance(given, Mapping):
        raise InvalidInputError(f"each row must be an object of the inputs {_names(specs)}")
    if given.keys() == specs.keys():
        return
    missing = sorted(specs.keys() - given.keys() - signature.defaults.keys())
    unknown = sorted(given.keys() - specs.keys())
    problems = [f"input {name!r} is missing" for name in missing]
    problems += [f"input {name!r} is not one of {_names(specs)}" for name in unknown]
    if problems:
        raise InvalidInputError("; ".join(problems))


def to_array(
    values: Sequence[Any], spec: TensorSpec, name: str, *, may_hold_booleans: bool = True
) -> Array:
    """Return a list of rows as an array of the declared dtype and shape."""
    return _fit(read_array(values, spec, name, may_hold_booleans=may_hold_booleans), spec, name)


def _fit(array: Array, spec: TensorSpec, name: str) -> Array:
    """Return rows in the declared shape; they may differ from it in dimensions of 1 alone."""
    declared = spec.shape
    if declared is None:
        return array
    found = array.shape[1:]
    if len(found) == len(declared) and all(
        d is None or d == f for d, f in zip(declared, found, strict=True)
    ):
        return array
    rest = [size for size in found if size != 1]
    wanted = [size for size in declared if size != 1]
    if len(rest) != len(wanted) or any(
        w is not None and w != r for w, r in zip(wanted, rest, strict=True)
    ):
        shape = tuple("?" if size is None else size for size in declared)
        raise InvalidInputError(
            f"{name}: a row must have the shape {_shape_text(shape)}, found {_shape_text(found)}"
        )
    sizes = iter(rest)
    return array.reshape(len(array), *(1 if size == 1 else next(sizes) for size in declared))


def _names(specs: Mapping[str, TensorSpec]) -> str:
    return ", ".join(repr(name) for name in specs)


def _shape_text(shape: Sequence[Any]) -> str:
    return "[" + ", ".join(str(size) for size in shape) + "]"
