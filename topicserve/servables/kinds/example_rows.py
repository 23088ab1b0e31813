"""Rows of features become serialized tf.Examples, as TF Serving's classify and regress build them.

A row has what it has: a feature with a default or of variable length may be left out, lists may
differ in length from row to row, one value stands for a list of it, and a feature that the graph
does not parse is ignored. A boolean is 1 or 0 for a feature of integers, and only there. What a
feature must hold is the graph's to judge. (TF Serving: util/json_tensor.cc, AddValueToFeature and
MakeExampleFromJsonObject.)
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.kinds.example_lists import describe
from topicserve.servables.kinds.example_writer import (
    FeatureWriter,
    UnseenWriter,
    example_of,
    examples_of,
    unseen_entry,
    writer_of,
)
from topicserve.servables.kinds.servable import Columns, FeatureSpec, Signature

Array = NDArray[Any]
Features = Mapping[str, FeatureSpec]

_CHUNK_ROWS = 4096


def examples_of_rows(rows: Sequence[Any] | Array, signature: Signature) -> Columns:
    """Return the signature's only column: a serialized tf.Example a row.

    A row is an object of features, or a tf.Example serialized already (bytes), which goes through
    as it is, also under the input's own name. Raises InvalidArgumentError naming the feature.
    """
    (input_name,) = signature.inputs
    writers = _Writers(signature.features or {})
    examples = np.empty(len(rows), object)
    for chunk in _chunks(len(rows)):
        some = _listed(rows[chunk])
        columns = _columns_of(some, input_name, writers.features)
        examples[chunk] = (
            [_example(row, input_name, writers) for row in some]
            if columns is None
            else _examples_of(columns, len(some), writers)
        )
    return {input_name: examples}


class _Writers(dict[str, FeatureWriter | UnseenWriter]):
    """What writes each feature, made when the first row has it."""

    def __init__(self, features: Features) -> None:
        super().__init__()
        self.features = features
        self.required = frozenset(name for name, spec in features.items() if spec.is_required)

    def __missing__(self, name: str) -> FeatureWriter | UnseenWriter:
        writer = self[name] = writer_of(name, self.features.get(name))
        return writer

    def check_required(self, row: Mapping[str, Any]) -> None:
        """Raise InvalidArgumentError where a feature that every row must have is missing."""
        missing = self.required - row.keys()
        if missing:
            names = ", ".join(map(repr, sorted(missing)))
            raise InvalidArgumentError(f"feature {names} is missing, and the model has no default")


def examples_of_columns(columns: Mapping[str, Any], signature: Signature) -> Columns:
    """Return the same for columns by feature: lists or arrays with one item a row."""
    (input_name,) = signature.inputs
    features = signature.features or {}
    if _names_input(columns, input_name, features):
        return examples_of_rows(_items(input_name, columns[input_name]), signature)
    used = {
        name: _items(name, column)
        for name, column in columns.items()
        if not features or name in features
    }
    counts = {name: len(items) for name, items in used.items()}
    if not used or len(set(counts.values())) != 1:
        wanted = ", ".join(map(repr, features)) or f"its examples, {input_name!r}"
        raise InvalidArgumentError(
            f"features differ in their number of rows: {counts}"
            if used
            else f"there is none of the features {wanted}"
        )
    rows = next(iter(counts.values()))
    writers = _Writers(features)
    examples = np.empty(rows, object)
    for chunk in _chunks(rows):
        columns_of_chunk = {name: _listed(items[chunk]) for name, items in used.items()}
        examples[chunk] = _examples_of(columns_of_chunk, len(examples[chunk]), writers)
    return {input_name: examples}


def _chunks(rows: int) -> Iterator[slice]:
    """Yield some rows at a time: their entries take many times the memory of their text."""
    return (slice(start, start + _CHUNK_ROWS) for start in range(0, rows, _CHUNK_ROWS))


def _columns_of(
    rows: Sequence[Any], input_name: str, features: Features
) -> dict[str, list[Any]] | None:
    """Return what rows hold that are objects of the same features; None for others."""
    first = rows[0]
    if type(first) is not dict or _names_input(first, input_name, features):
        return None
    names = first.keys()
    if len(names) > len(rows):  # it pays where each feature has some values
        return None
    if not all(type(row) is dict and row.keys() == names for row in rows):
        return None
    # What the graph does not parse is left out.
    return {n: [row[n] for row in rows] for n in names if not features or n in features}


def _examples_of(
    columns: Mapping[str, Sequence[Any]], count: int, writers: _Writers
) -> list[bytes]:
    """Return an example for each of so many rows."""
    writers.check_required(columns)
    try:
        entries = [writers[name].column(items) for name, items in columns.items()]
    except InvalidArgumentError:
        # The first row at fault is told, and its first feature.
        for row in zip(*columns.values(), strict=True):
            for name, value in zip(columns, row, strict=True):
                writers[name].entry(value)
        raise
    return examples_of(entries) if entries else [b""] * count


def _example(row: Any, input_name: str, writers: _Writers) -> bytes:
    if type(row) is not dict or input_name in row:
        serialized = _serialized(row, input_name, writers.features)
        if serialized is not None:
            return serialized
    if writers.required:
        writers.check_required(row)
    features = writers.features
    if not features:
        return example_of(b"".join([unseen_entry(name, value) for name, value in row.items()]))
    return example_of(b"".join([writers[n].entry(v) for n, v in row.items() if n in features]))


def _serialized(row: Any, input_name: str, features: Features) -> bytes | None:
    """Return a row that is a tf.Example already, None where it is an object of features."""
    if isinstance(row, Mapping):
        if not _names_input(row, input_name, features):
            return None
        row = row[input_name]
        if not isinstance(row, bytes | str):
            return None
    if isinstance(row, bytes):
        return row
    if isinstance(row, str):
        return row.encode(errors="surrogatepass")
    raise InvalidArgumentError(
        "each row must be an object of features, or one serialized tf.Example; "
        f"found {describe(row)}"
    )


def _names_input(given: Mapping[str, Any], input_name: str, features: Features) -> bool:
    return input_name in given and len(given) == 1 and input_name not in features


def _items(name: str, column: Any) -> Sequence[Any] | Array:
    """Return a column by its rows, an array as it is: a million objects are made by the chunk."""
    if isinstance(column, list) or (isinstance(column, np.ndarray) and column.ndim):
        return column
    raise InvalidArgumentError(f"feature {name!r}: must be a list of rows")


def _listed(items: Sequence[Any] | Array) -> Sequence[Any]:
    return items.tolist() if isinstance(items, np.ndarray) else items
