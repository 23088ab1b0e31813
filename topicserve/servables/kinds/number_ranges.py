"""Numbers in another dtype, and those that it cannot hold."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Number = bool | int | float | complex

_MAX_SHOWN = 64
# A dtype's numbers are among those of each later one. V: TensorFlow's narrow floats.
_ORDER = {"b": 0, "i": 1, "u": 1, "f": 2, "V": 2, "c": 3}


def may_change(found: np.dtype[Any], wanted: np.dtype[Any]) -> bool:
    """Return whether numbers of one dtype may be brought to another, those that it holds.

    To an integer of another size, from integers to floats and to a float of another size; never
    from floats to integers, from numbers to booleans, or from or to strings.
    """
    if found == wanted:
        return True
    if wanted.kind == "b" or found.kind not in _ORDER or wanted.kind not in _ORDER:
        return False
    return _ORDER[found.kind] <= _ORDER[wanted.kind]


def in_dtype(numbers: Array, dtype: np.dtype[Any]) -> tuple[Array, Number | None]:
    """Return numbers in a dtype, and the first one that it cannot hold; None where it holds all.

    Floats are rounded; one that is finite must not become infinite. See `may_change`.
    """
    if numbers.dtype == dtype:
        return numbers, None
    if dtype.kind in "iu":
        return numbers.astype(dtype), _beyond(numbers, dtype)
    with np.errstate(all="ignore"):
        changed = numbers.astype(dtype)
    is_finite = np.isfinite(changed)
    if is_finite.all():
        return changed, None
    lost = ~is_finite & np.isfinite(numbers)
    return changed, numbers[lost][0].item() if lost.any() else None


def range_text(number: Number, dtype: np.dtype[Any], text: str = "") -> str:
    """Return that a number is out of a dtype's range, and the range; `text` is how it stands."""
    text = text or str(number)
    shown = text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
    limits = limits_of(dtype)
    return f"{shown} is out of range for {dtype.name}, which is from {limits.min} to {limits.max}"


def limits_of(dtype: np.dtype[Any]) -> Any:
    """Return what has the least and the greatest finite number of a dtype, as `min` and `max`."""
    if dtype.kind in "iu":
        return np.iinfo(dtype)
    if dtype.isbuiltin != 2:  # 2: not numpy's own
        return np.finfo(dtype)
    import ml_dtypes

    find: Any = ml_dtypes.finfo
    return find(dtype)


def _beyond(integers: Array, dtype: np.dtype[Any]) -> int | None:
    if not integers.size or np.can_cast(integers.dtype, dtype):
        return None
    limits = limits_of(dtype)
    low, high = int(integers.min()), int(integers.max())
    if limits.min <= low and high <= limits.max:
        return None
    return low if low < limits.min else high
