"""numpy's times and durations as JSON has them: RFC 3339 text, and seconds."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DATE_AND_TIME_CHARACTERS = len("2024-01-01T00:00:00")
_FINER_THAN_SECONDS = frozenset(("ms", "us", "ns", "ps", "fs", "as"))


def time_text(time: np.datetime64) -> str | None:
    """Return a time as text with all its digits; None for NaT.

    Raises ValueError for a time that RFC 3339 cannot write.
    """
    if np.isnat(time):
        return None
    unit: Any = np.datetime_data(time.dtype)[0]
    text = str(np.datetime_as_string(time, unit=unit if unit in _FINER_THAN_SECONDS else "s"))
    seconds, _, fraction = text.partition(".")
    if len(seconds) != _DATE_AND_TIME_CHARACTERS:
        raise ValueError(f"{seconds} is outside the years 0000 to 9999")
    return seconds + fraction_text(fraction)


def fraction_text(digits: str) -> str:
    """Return a fraction of a second with its point: 6 digits, or 9 and more where it has them.

    A whole second has none.
    """
    digits = digits.rstrip("0")
    return f".{digits.ljust(max(6, -(-len(digits) // 3) * 3), '0')}" if digits else ""


def time_texts(times: NDArray[Any]) -> Any:
    """Return an array of times as text, in lists as they are nested."""
    if times.ndim == 0:
        time: Any = times[()]
        return time_text(time)
    return [time_texts(np.asarray(part)) for part in times]


def seconds_of(duration: timedelta | np.timedelta64) -> float | None:
    """Return a duration in seconds; None for NaT."""
    if duration != duration:
        return None
    if isinstance(duration, np.timedelta64):
        return float(duration / np.timedelta64(1, "s"))
    return duration.total_seconds()


def has_times(node: Any) -> bool:
    """Return whether numpy's times stand in a tree of mappings, lists and arrays."""
    if isinstance(node, Mapping):
        return any(map(has_times, node.values()))
    if isinstance(node, (list, tuple)):
        return any(map(has_times, node))
    if not isinstance(node, (np.ndarray, np.generic)):
        return False
    return node.dtype.kind == "M" or (node.dtype.kind == "O" and has_times(node.tolist()))
