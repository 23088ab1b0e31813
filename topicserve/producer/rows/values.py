"""A column as one value a row, each of which a record's body can hold as it is."""

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topicserve.producer.rows.times import seconds_of, time_texts

# What Python's own numbers hold without another value: a float32 as a float is longer as text.
_PLAIN = frozenset("biuOUS")


class Values(list[Any]):
    """A column's values, of which some could not be read: None stands in their place."""

    problems: dict[int, str]
    """What is wrong with these, by row."""


def values_of(column: Any) -> Sequence[Any]:
    """Return a column's values: arrays for rows that are arrays, None where there is none.

    Where a value cannot be read, such as a date that Python lacks, they are Values.
    """
    if isinstance(column, np.ndarray):
        return _of_array(column)
    if hasattr(column, "isna"):
        return _of_series(column)
    if hasattr(column, "to_pylist"):
        # Here, so that pyarrow is loaded for its own columns alone.
        from topicserve.producer.rows.arrow_values import values_of_arrow

        return values_of_arrow(column)
    return column if isinstance(column, Sequence) else list(column)


def typed_values_of(column: Any) -> Sequence[Any]:
    """Return a column's values, numbers with their own dtype, as tensors need it."""
    if isinstance(column, np.ndarray):
        return list(np.ascontiguousarray(column))
    if isinstance(getattr(column, "dtype", None), np.dtype) and column.dtype.kind in "biuf":
        return list(column.to_numpy())
    if hasattr(column, "to_pylist"):
        from topicserve.producer.rows.arrow_values import numbers_of_arrow

        numbers = numbers_of_arrow(column)
        return values_of(column) if numbers is None else numbers
    return values_of(column)


def metadata_values_of(values: Sequence[Any]) -> Sequence[Any]:
    """Return a column's values as JSON has them.

    None for what is no number or no time; decimals as text, with all their digits; durations in
    seconds.
    """
    found = Values(map(_metadata_value, values))
    found.problems = problems_of(values)
    return found


def problems_of(values: Sequence[Any]) -> dict[int, str]:
    """Return which of a column's values could not be read, and why."""
    return values.problems if isinstance(values, Values) else {}


def is_missing(value: Any) -> bool:
    """Tell NaN, pandas' NaT and NA, and numpy's NaT from values."""
    if isinstance(value, (float, np.floating)):
        return bool(value != value)
    if isinstance(value, (np.datetime64, np.timedelta64)):
        return bool(np.isnat(value))
    return type(value).__name__ in ("NaTType", "NAType")


def read_each(items: Iterable[Any], read: Callable[[Any], Any]) -> Values:
    """Return what was read of each item; one that cannot be read has its problem alone."""
    values = Values()
    values.problems = {}
    for row, item in enumerate(items):
        try:
            values.append(read(item))
        except (ValueError, TypeError, OverflowError) as error:  # pyarrow's are ValueErrors
            values.append(None)
            values.problems[row] = f"cannot be read: {error}"
    return values


def _metadata_value(value: Any) -> Any:
    if is_missing(value):
        return None
    if isinstance(value, Decimal):
        return str(value)
    return seconds_of(value) if isinstance(value, (timedelta, np.timedelta64)) else value


def _of_array(array: NDArray[Any]) -> Sequence[Any]:
    if array.dtype.kind == "M":
        return read_each(array, lambda time: time_texts(np.asarray(time)))
    if array.ndim == 1 and (array.dtype.kind in _PLAIN or array.dtype == np.float64):
        return list(array.tolist())
    return list(np.ascontiguousarray(array))


def _of_series(series: Any) -> Sequence[Any]:
    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "biuf":
        return _of_array(series.to_numpy())
    try:
        values = list(series.tolist())
    except (ValueError, OverflowError):
        return read_each(range(len(series)), lambda row: _none_if_missing(series.iloc[row]))
    missing = series.isna()
    if not missing.any():
        return values
    return [
        None if is_none else value for value, is_none in zip(values, missing.tolist(), strict=True)
    ]


def _none_if_missing(value: Any) -> Any:
    return None if is_missing(value) else value
