"""A column as one value a row, each of which a record's body can hold as it is."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# What Python's own numbers hold without another value: a float32 as a float is longer as text.
_PLAIN = frozenset("biuOUS")


def values_of(column: Any) -> Sequence[Any]:
    """Return a column's values: arrays for rows that are arrays, None where there is none."""
    if isinstance(column, np.ndarray):
        return _of_array(column)
    if hasattr(column, "isna"):
        return _of_series(column)
    if hasattr(column, "to_pylist"):
        return _of_arrow(column)
    return column if isinstance(column, Sequence) else list(column)


def typed_values_of(column: Any) -> Sequence[Any]:
    """Return a column's values, numbers with their own dtype, as tensors need it."""
    if isinstance(column, np.ndarray):
        return list(np.ascontiguousarray(column))
    if isinstance(getattr(column, "dtype", None), np.dtype) and column.dtype.kind in "biuf":
        return list(column.to_numpy())
    if hasattr(column, "to_pylist") and not column.null_count and _is_number(column.type):
        return list(column.to_numpy(zero_copy_only=False))
    return values_of(column)


def metadata_values_of(values: Sequence[Any]) -> Sequence[Any]:
    """Return a column's values as JSON has them: None for what is no number or no time."""
    return [None if is_missing(value) else value for value in values]


def is_missing(value: Any) -> bool:
    """Tell NaN and pandas' NaT and NA from values."""
    if isinstance(value, (float, np.floating)):
        return bool(value != value)
    return type(value).__name__ in ("NaTType", "NAType")


def _of_array(array: NDArray[Any]) -> Sequence[Any]:
    if array.ndim == 1 and (array.dtype.kind in _PLAIN or array.dtype == np.float64):
        return list(array.tolist())
    return list(np.ascontiguousarray(array))


def _of_series(series: Any) -> Sequence[Any]:
    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "biuf":
        return _of_array(series.to_numpy())
    missing = series.isna()
    if not missing.any():
        return list(series.tolist())
    return [
        None if is_none else value
        for value, is_none in zip(series.tolist(), missing.tolist(), strict=True)
    ]


def _of_arrow(column: Any) -> Sequence[Any]:
    """Return lists of numbers without a Python object for each number."""
    if hasattr(column, "combine_chunks"):  # a table's column, where a batch's is one array
        column = column.combine_chunks()
    kind = column.type
    if column.null_count == 0 and _is_float32(kind):
        return _of_array(column.to_numpy(zero_copy_only=False))
    inner = getattr(kind, "value_type", None)
    is_list = inner is not None and hasattr(column, "flatten") and not hasattr(kind, "index_type")
    if not is_list or column.null_count or not _is_number(inner):
        return list(column.to_pylist())
    flat = column.flatten()
    if flat.null_count:
        return list(column.to_pylist())
    numbers = flat.to_numpy(zero_copy_only=False)
    if hasattr(kind, "list_size"):
        return list(numbers.reshape(len(column), kind.list_size))
    ends = np.cumsum(column.value_lengths().to_numpy(zero_copy_only=False))
    return np.split(numbers, ends[:-1]) if len(column) else []


def _is_float32(kind: Any) -> bool:
    return str(kind) in ("float", "halffloat")


def _is_number(kind: Any) -> bool:
    return str(kind) in ("double", "float", "halffloat") or str(kind).lstrip("u").startswith("int")
