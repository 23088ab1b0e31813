"""The rows of a record in the forms that a person has them in: lists, arrays, columns of frames."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topicserve.producer.json_bytes import listed
from topicserve.producer.labels import refuse_labelled, refuse_labelled_rows
from topicserve.wire.errors import InvalidRecordError

_NO_ROWS = "must hold at least one row"


def instance_of(content: Any, form: str) -> Any:
    """Return one row as it is; raises InvalidRecordError where a list would lose its names."""
    refuse_labelled(content, form)
    return content


def rows_of(content: Any, form: str) -> Any:
    """Return rows as a list or an array; raises InvalidRecordError where there is none."""
    if isinstance(content, (str, bytes, bytearray, Mapping)):
        raise InvalidRecordError(form, f"must be a list of rows, found {type(content).__name__}")
    if not isinstance(content, (list, tuple, np.ndarray)):
        try:
            content = listed(content)
        except TypeError as error:
            raise InvalidRecordError(form, f"must be a list of rows: {error}") from None
    is_array = isinstance(content, np.ndarray) and content.ndim > 0
    if not is_array and not isinstance(content, (list, tuple)):
        raise InvalidRecordError(form, f"must be a list of rows, found {type(content).__name__}")
    if len(content) == 0:
        raise InvalidRecordError(form, _NO_ROWS)
    refuse_labelled_rows(content, form)
    return content


def inputs_of(content: Any, form: str) -> Any:
    """Return columns by input name, or the only input's rows.

    A column may be one value, which the signature must have declared for the call as a whole. A
    signature may have no input, or defaults for all, so there may be none.
    """
    if not isinstance(content, Mapping):
        return rows_of(content, form)
    columns = {}
    for name, column in content.items():
        is_value = isinstance(column, (str, bytes, bool, int, float, np.generic, Mapping))
        columns[name] = column if is_value else rows_of(column, f"{form}.{name}")
    return columns


def tensors_of(content: Any, form: str) -> dict[str, NDArray[Any]]:
    """Return arrays by input name, also none; lists of text, bytes or booleans will do."""
    if not isinstance(content, Mapping):
        found = type(content).__name__
        raise InvalidRecordError(form, f"must be arrays by input name (a mapping), found {found}")
    tensors = {}
    for name, value in content.items():
        tensors[str(name)] = array = _array_of(value, f"{form}.{name}")
        if array.ndim and len(array) == 0:
            raise InvalidRecordError(f"{form}.{name}", _NO_ROWS)
    return tensors


def _array_of(value: Any, field: str) -> NDArray[Any]:
    if hasattr(value, "dtype") and hasattr(value, "__array__"):
        return np.asarray(value)
    try:
        array = np.asarray(value)
        if array.dtype.kind in "SU":
            # numpy cuts the zero bytes at the end of its own strings off.
            array = np.asarray(value, dtype=object)
    except (TypeError, ValueError) as error:
        raise InvalidRecordError(field, f"is no array: {error}") from None
    if array.dtype.kind in "iufc":
        raise InvalidRecordError(
            field, "has no definite dtype; give numpy.asarray(..., numpy.float32)"
        )
    return array
