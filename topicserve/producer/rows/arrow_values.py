"""Values of Arrow's columns: without a Python object for each number, times to the nanosecond."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from topicserve.producer.rows.times import fraction_text, time_text
from topicserve.producer.rows.values import read_each

_TENSOR = "arrow.fixed_shape_tensor"
_DATE_AND_TIME, _TIME = "2024-01-01T00:00:00", "00:00:00"
_MICROSECOND = 1_000
_SECOND = 1_000_000_000


def values_of_arrow(column: Any) -> Sequence[Any]:
    """Return a column's values. See values_of."""
    column = _whole(column)
    if getattr(column.type, "extension_name", None) == _TENSOR:
        return _tensors(column)
    numbers = None
    if column.null_count == 0:
        if str(column.type) in ("float", "halffloat"):
            return list(column.to_numpy(zero_copy_only=False))
        numbers = _number_lists(column)
    return _objects(column) if numbers is None else numbers


def numbers_of_arrow(column: Any) -> Sequence[Any] | None:
    """Return numbers with their own dtype, None in place of nulls; None for other columns."""
    column = _whole(column)
    if not _is_number(column.type):
        return None
    if not column.null_count:
        return list(column.to_numpy(zero_copy_only=False))
    numbers = column.fill_null(0).to_numpy(zero_copy_only=False)
    valid = column.is_valid().to_pylist()
    return [number if is_valid else None for number, is_valid in zip(numbers, valid, strict=True)]


def _whole(column: Any) -> Any:
    """Return a table's column as one array, as a batch's is."""
    return column.combine_chunks() if hasattr(column, "combine_chunks") else column


def _tensors(column: Any) -> Sequence[Any]:
    if not column.null_count:
        return list(column.to_numpy_ndarray())
    return [scalar.to_numpy() if scalar.is_valid else None for scalar in column]


def _number_lists(column: Any) -> Sequence[Any] | None:
    """Return a column of lists of numbers as arrays; None for any other."""
    kind = column.type
    inner = getattr(kind, "value_type", None)
    is_list = inner is not None and hasattr(column, "flatten") and not hasattr(kind, "index_type")
    if not is_list or not _is_number(inner):
        return None
    flat = column.flatten()
    if flat.null_count:
        return None
    numbers = flat.to_numpy(zero_copy_only=False)
    if hasattr(kind, "list_size"):
        return list(numbers.reshape(len(column), kind.list_size))
    ends = np.cumsum(column.value_lengths().to_numpy(zero_copy_only=False))
    return np.split(numbers, ends[:-1]) if len(column) else []


def _objects(column: Any) -> Sequence[Any]:
    if "[ns" not in str(column.type):
        try:
            return list(column.to_pylist())
        except (ValueError, TypeError, OverflowError):
            pass  # one of them is at fault
    return read_each(column, _object)


def _object(scalar: Any) -> Any:
    """Return any value, with the nanoseconds that Python's own times lack."""
    if not scalar.is_valid:
        return None
    kind = scalar.type
    if isinstance(scalar, pa.ExtensionScalar):
        return scalar.as_py()
    if pa.types.is_dictionary(kind):
        return _object(scalar.value)
    if pa.types.is_map(kind):
        return [(_object(item["key"]), _object(item["value"])) for item in scalar.values]
    if pa.types.is_struct(kind):
        return {name: _object(item) for name, item in scalar.items()}
    if hasattr(scalar, "values"):
        return list(map(_object, scalar.values))
    if str(kind).startswith(("timestamp[ns", "time64[ns", "duration[ns")):
        return _of_nanoseconds(kind, scalar.value)
    return scalar.as_py()


def _of_nanoseconds(kind: Any, count: int) -> Any:
    if pa.types.is_duration(kind):
        return np.timedelta64(count, "ns")
    if pa.types.is_timestamp(kind) and kind.tz is None:
        return time_text(np.datetime64(count, "ns"))
    # Python's time or datetime of the whole microsecond, and what it lacks.
    microseconds, nanoseconds = divmod(count, _MICROSECOND)
    if pa.types.is_timestamp(kind):
        time: Any = pa.scalar(microseconds, pa.timestamp("us", kind.tz)).as_py()
    else:
        time = pa.scalar(microseconds, pa.time64("us")).as_py()
    if not nanoseconds:
        return time
    whole = time.replace(microsecond=0).isoformat()
    end = len(_DATE_AND_TIME if pa.types.is_timestamp(kind) else _TIME)
    return whole[:end] + fraction_text(f"{count % _SECOND:09}") + whole[end:]


def _is_number(kind: Any) -> bool:
    return str(kind) in ("double", "float", "halffloat") or str(kind).lstrip("u").startswith("int")
