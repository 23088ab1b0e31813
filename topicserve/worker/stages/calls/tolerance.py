"""When two answers of one record are the same: floats within a tolerance, all else exactly."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from topicserve.servables.kinds.number_ranges import limits_of

# Far more than another order of the same sums makes, and less than what a person would call the
# same. Floats of 16 and of 8 bits are not as exact as that.
RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 1e-3, 1e-5
# Zeros among other numbers are as exact as these; what is rounded there is far below them.
_MUCH_SMALLER = 1e-2
_OF_NARROW_FLOATS = {2: 2e-2, 1: 0.25}
# In units of a dtype's last place. Calls of one size compute one row in one way.
_LAST_PLACES, _LAST_PLACES_OF_NARROW = 16, 1
_FLOATS = frozenset("fcV")  # V: TensorFlow's narrow ones


def scale_of(column: NDArray[Any], *, has_rows: bool) -> Any:
    """Return how large a float usually is at each place of a record's output: a median of rows.

    What sums make of large terms that cancel out is exact to the terms' size, not to its own. But
    one large number, a mask's or a time, says nothing of the numbers beside it.
    """
    if column.dtype.kind not in _FLOATS:
        return 0.0
    if not column.size:
        return 0.0
    with np.errstate(all="ignore"):
        sizes = np.abs(column.astype(np.complex128 if column.dtype.kind == "c" else np.float64))
    # Without dimensions these are numpy's scalars, which take no assignment.
    sizes = np.where(np.isfinite(sizes), sizes, 0.0)
    typical = _MUCH_SMALLER * float(np.quantile(sizes, 0.5, method="lower"))
    if not has_rows or not sizes.ndim or len(sizes) < 2:
        return typical
    return np.maximum(np.quantile(sizes, 0.5, axis=0, method="lower"), typical)


def is_identical(first: NDArray[Any], second: NDArray[Any]) -> bool:
    """Return whether two arrays are the same bit by bit, which costs a fraction of `is_same`."""
    if first.dtype != second.dtype or first.shape != second.shape or first.dtype.hasobject:
        return False
    one, other = (np.ascontiguousarray(a).reshape(-1).view(np.uint8) for a in (first, second))
    return bool(np.array_equal(one, other))


def is_same(first: NDArray[Any], second: NDArray[Any], scale: Any) -> bool:
    """Return whether two arrays of one shape are the same, floats within the tolerance.

    `scale` has what `scale_of` gives: one number, or one for each place of a row.
    """
    if not {first.dtype.kind, second.dtype.kind} <= _FLOATS:
        return bool(first.tolist() == second.tolist())
    relative = _OF_NARROW_FLOATS.get(first.dtype.itemsize, RELATIVE_TOLERANCE)
    return _is_near(first, second, relative, ABSOLUTE_TOLERANCE * scale)


def is_equal(first: NDArray[Any], second: NDArray[Any], scale: Any, tolerance: float = 0) -> bool:
    """Return the same with a tolerance of the last places alone, or with `tolerance` if more."""
    if not {first.dtype.kind, second.dtype.kind} <= _FLOATS:
        return bool(first.tolist() == second.tolist())
    is_narrow = first.dtype.itemsize in _OF_NARROW_FLOATS
    places = _LAST_PLACES_OF_NARROW if is_narrow else _LAST_PLACES
    relative = max(places * float(limits_of(first.dtype).eps), tolerance)
    return _is_near(first, second, relative, relative * scale)


def _is_near(first: NDArray[Any], second: NDArray[Any], relative: float, absolute: Any) -> bool:
    wide = np.complex128 if "c" in (first.dtype.kind, second.dtype.kind) else np.float64
    with np.errstate(all="ignore"):
        one, other = first.astype(wide), second.astype(wide)
        near = np.isclose(one, other, relative, absolute, equal_nan=True)
    return bool(near.all())
