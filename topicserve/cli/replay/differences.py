"""Whether two results say the same, up to the last digits."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topicserve.wire.result import RESULT_KEYS, Result
from topicserve.worker.stages.shadow import ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE

NOT_NUMBERS = math.inf
"""What differs is no number: another text, another shape."""


def largest_difference(first: Any, second: Any) -> float:
    """Return by how much numbers differ at most, 0 where they are equal within the tolerance.

    NOT_NUMBERS where anything else differs: a text, a shape, a key. Takes JSON trees, and dicts of
    numpy arrays by name. The tolerance is that of a shadow's comparison. RecursionError passes for
    trees that are nested too deeply.
    """
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return _of_arrays(first, second)
    if isinstance(first, dict) and isinstance(second, dict):
        if first.keys() != second.keys():
            return NOT_NUMBERS
        return max((largest_difference(first[key], second[key]) for key in first), default=0.0)
    if isinstance(first, list) and isinstance(second, list):
        if len(first) != len(second):
            return NOT_NUMBERS
        pairs = zip(first, second, strict=True)
        return max((largest_difference(*pair) for pair in pairs), default=0.0)
    if _is_number(first) and _is_number(second):
        return _of_numbers(first, second)
    return 0.0 if type(first) is type(second) and first == second else NOT_NUMBERS


def answer_of(result: Result) -> dict[str, Any]:
    """Return what a line shows of a result: which version, and what it says."""
    key = RESULT_KEYS.get(result.form, "outputs")
    return {"servable": result.servable, "version": result.version, key: result.value}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _of_numbers(first: float, second: float) -> float:
    if math.isclose(first, second, rel_tol=RELATIVE_TOLERANCE, abs_tol=ABSOLUTE_TOLERANCE):
        return 0.0
    return abs(first - second)


def _of_arrays(first: NDArray[Any], second: NDArray[Any]) -> float:
    if first.shape != second.shape:
        return NOT_NUMBERS
    if first.dtype.kind not in "iufc" or second.dtype.kind not in "iufc":
        return 0.0 if np.array_equal(first, second) else NOT_NUMBERS
    tolerances = {"rtol": RELATIVE_TOLERANCE, "atol": ABSOLUTE_TOLERANCE}
    if np.allclose(first, second, equal_nan=True, **tolerances):
        return 0.0
    found = float(np.nanmax(np.abs(first.astype(complex) - second.astype(complex))))
    return NOT_NUMBERS if math.isnan(found) else found
