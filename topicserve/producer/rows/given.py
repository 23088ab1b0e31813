"""What a caller gives beside a table: one value a row, or one that all rows have."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from topicserve.producer.rows.values import is_missing
from topicserve.wire.errors import InvalidRecordError


def is_column(value: Any) -> bool:
    """Tell one value a row, of any iterable, from one value that all rows have."""
    if isinstance(value, (str, bytes, bytearray, memoryview, Mapping)):
        return False
    return isinstance(value, Iterable) and getattr(value, "ndim", 1) > 0


def one_a_row(given: Any, field: str) -> Any:
    """Return a column that can be read in parts, and more than once; a name as it is.

    Raises InvalidRecordError for what has no order.
    """
    if given is None or isinstance(given, (str, list, tuple, range, np.ndarray)):
        return given
    if hasattr(given, "iloc") or hasattr(given, "to_pylist"):
        return given
    if isinstance(given, (set, frozenset)):
        raise InvalidRecordError(
            field, f"is a {type(given).__name__}, which has no order; give a list, one value a row"
        )
    return np.asarray(given) if hasattr(given, "__array__") else list(given)


def id_of(value: Any) -> Any:
    """Return a row's record id as text; None where it has none."""
    if is_missing(value) or (isinstance(value, (str, bytes)) and not value):
        return None
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        value = int(value)  # pandas makes floats of whole numbers where one of them is missing
    return str(value) if isinstance(value, (int, np.integer)) else value


def key_of(value: Any) -> Any:
    """Return a row's Kafka key; None where it has none."""
    value = id_of(value)
    return value if value is None or isinstance(value, (str, bytes)) else str(value)
