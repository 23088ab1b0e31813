"""Rows become columns: what a batch of lone rows feeds a signature with.

A batch of lone rows, the common case, is converted in one go. Where that fails, each record is
converted alone (`record_columns`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from topicserve.servables.kinds.example_rows import examples_of_rows
from topicserve.servables.kinds.servable import Columns, Signature, TensorSpec
from topicserve.wire.json_codec.body import Form
from topicserve.wire.json_codec.numbers import lone_row_of, read_number_rows
from topicserve.wire.json_codec.text import LARGE_BYTES, load_json, one_large_tree
from topicserve.wire.limits import shortened
from topicserve.worker.stages.calls.arrays import (
    InvalidInputError,
    describe,
    is_narrow_float,
    narrow,
    read_array,
)

Array = NDArray[Any]

_INSTANCE = Form.INSTANCE  # looked at once a record: a global costs less than a member


# Up to here making Python lists is quicker than reading all rows' numbers at once, which has a
# fixed cost: 7 us instead of 26 for one row of 64 floats, and the same for some 6 KiB of them.
FEW_BYTES = 4096

_TREE_TEXT_BYTES = 1024 * 1024

# A record may name a hundred thousand inputs that do not exist: the first few are enough to say.
_MAX_TOLD = 8


def columns_at_once(contents: Sequence[bytes], signature: Signature) -> Columns | None:
    """Return the columns of a batch of lone rows; None where they must be looked at singly."""
    try:
        if sum(map(len, contents)) > FEW_BYTES:
            numbers = numbers_at_once(contents, lone_row_of, signature)
            if numbers is not None and max(numbers[1]) == 1:
                return numbers[0]
        # Looking for a boolean here saves a look at the type of each number; base64 is decoded
        # record by record.
        if any(b"true" in c or b"false" in c or b'"b64"' in c for c in contents):
            return None
        if sum(map(len, contents)) <= LARGE_BYTES:
            return _columns_of(contents, signature)
        with one_large_tree:
            parts = [_columns_of(part, signature) for part in _parts(contents)]
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    except Exception:
        # Whatever a parser raises, it is no reason to stop: each is looked at alone.
        return None


def _columns_of(contents: Sequence[bytes], signature: Signature) -> Columns:
    return columns_of_rows(_rows_at_once(contents), signature, may_hold_booleans=False)


def _parts(contents: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Yield what is made a tree at once: a tree takes up to 35 times the memory of its text."""
    start = size = 0
    for index, content in enumerate(contents):
        size += len(content)
        if size > _TREE_TEXT_BYTES and index > start:
            yield contents[start:index]
            start, size = index, len(content)
    yield contents[start:]


def _rows_at_once(contents: Sequence[bytes]) -> list[Any]:
    try:
        return [orjson.loads(content)[Form.INSTANCE.value] for content in contents]
    except orjson.JSONDecodeError:  # one of them may have NaN or an infinity
        return [load_json(content)[Form.INSTANCE.value] for content in contents]


def numbers_at_once(
    contents: Sequence[Any],
    rows_of: Callable[[Any], bytes],
    signature: Signature,
    *,
    in_objects: bool = False,
) -> tuple[Columns, list[int]] | None:
    """Return the only input's column, if it is of numbers in a declared shape and all rows fit.

    And how many rows each content has, whose rows `rows_of` gives with commas between them.
    """
    if len(signature.inputs) != 1:
        return None
    ((name, spec),) = signature.inputs.items()
    kind, shape = spec.dtype.kind, spec.shape
    if kind in "bO" or shape is None:
        return None
    known = tuple(size for size in shape if size is not None)
    if len(known) != len(shape):
        return None
    found = read_number_rows(contents, rows_of, known, spec.dtype, in_objects=in_objects)
    if found is None or (is_narrow_float(spec) and not np.isfinite(found[0]).all()):
        return None  # simdjson reads finite numbers alone: one of them was out of range
    return {name: narrow(found[0], spec, name)}, found[1]


def columns_of_rows(
    rows: Sequence[Any], signature: Signature, *, may_hold_booleans: bool = True
) -> Columns:
    """Return the columns of TF Serving's row format, where every input has rows."""
    if signature.features is not None:
        return examples_of_rows(rows, signature)
    specs = signature.inputs
    return {
        name: to_array(values, specs[name], name, may_hold_booleans=may_hold_booleans)
        for name, values in values_by_name(rows, signature).items()
    }


def values_by_name(rows: Sequence[Any], signature: Signature) -> dict[str, Sequence[Any]]:
    """Return each input's values, one a row: rows are plain values, or objects by input name.

    Inputs with defaults may be left out.
    """
    specs = signature.inputs
    if not isinstance(rows[0], dict):
        if len(specs) != 1:
            raise InvalidInputError(f"each row must be {_wanted(specs)}, found {describe(rows[0])}")
        return {next(iter(specs)): rows}
    for row in rows:
        check_names(row, signature)
    return {name: [row[name] for row in rows] for name in _given(rows, specs)}


def _given(rows: Sequence[Any], specs: Mapping[str, TensorSpec]) -> Mapping[str, TensorSpec]:
    """Return the inputs that the rows have: fewer than all where some have defaults."""
    if len(rows[0]) == len(specs) and all(len(row) == len(specs) for row in rows):
        return specs
    for name in specs:
        if len({name in row for row in rows}) > 1:
            raise InvalidInputError(f"input {name!r} must be in all rows of a record, or in none")
    return {name: spec for name, spec in specs.items() if name in rows[0]}


def check_names(given: Any, signature: Signature) -> None:
    """Raise InvalidInputError for an input that is missing, or is none of the signature's."""
    specs = signature.inputs
    if not isinstance(given, Mapping):
        raise InvalidInputError(f"each row must be {_wanted(specs)}")
    if given.keys() == specs.keys():
        return
    missing = sorted(specs.keys() - given.keys() - signature.defaults.keys())
    unknown = [shortened(name) for name in sorted(given.keys() - specs.keys())[:_MAX_TOLD]]
    problems = [f"input {name!r} is missing" for name in missing]
    known = f"is not one of {_names(specs)}" if specs else "is given, but the signature has none"
    problems += [f"input {name!r} {known}" for name in unknown]
    if problems:
        raise InvalidInputError("; ".join(problems))


def to_array(
    values: Sequence[Any], spec: TensorSpec, name: str, *, may_hold_booleans: bool = True
) -> Array:
    """Return a list of rows as an array of the declared dtype and shape."""
    return fit(read_array(values, spec, name, may_hold_booleans=may_hold_booleans), spec, name)


def fit(array: Array, spec: TensorSpec, name: str) -> Array:
    """Return rows in the declared shape; they may differ from it in dimensions of 1 alone."""
    declared = spec.shape
    if declared is None:
        return array
    found = array.shape[1:]
    if len(found) == len(declared) and all(
        d is None or d == f for d, f in zip(declared, found, strict=True)
    ):
        return array
    if not len(array):
        raise no_rows(name)
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


def no_rows(name: str) -> InvalidInputError:
    """Return the error of an input with rows that has none."""
    return InvalidInputError(f"{name}: has no rows; a record has at least one")


def _wanted(specs: Mapping[str, TensorSpec]) -> str:
    return f"an object of the inputs {_names(specs)}" if specs else "{}: the signature has no input"


def _names(specs: Mapping[str, TensorSpec]) -> str:
    return ", ".join(repr(name) for name in specs)


def _shape_text(shape: Sequence[Any]) -> str:
    return "[" + ", ".join(str(size) for size in shape) + "]"
