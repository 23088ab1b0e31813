"""Calls of exactly, or at most, so many rows, made to take any number."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.kinds.predict_checks import check_rows, rows_of
from topicserve.servables.kinds.servable import Columns, Scope, Signature, TensorSpec


def predict_in_parts(
    predict: Callable[[Columns], Columns],
    inputs: Columns,
    signature: Signature,
    size: int,
    *,
    fill_up: bool = True,
) -> Columns:
    """Call `predict` with `size` rows as often as needed, and return as many rows as came in.

    The last call is filled up with its last row, and what that gives is left out; without `fill_up`
    it has fewer rows. Inputs for the whole call go to each; of outputs without rows, which are of
    one call, there must be one.
    """
    total = rows_of(inputs, signature.inputs)
    if not total:
        raise InvalidArgumentError("there must be at least one row")
    parts = []
    for start in range(0, total, size):
        rows = size if fill_up else min(size, total - start)
        part = predict(_part(inputs, signature.inputs, start, rows))
        check_rows(part, rows, signature.outputs)
        parts.append(part)
    return {
        name: _joined([part[name] for part in parts], signature.outputs.get(name), total)
        for name in parts[0]
    }


def _part(
    inputs: Columns, specs: Mapping[str, TensorSpec], start: int, size: int
) -> dict[str, NDArray[Any]]:
    return {
        name: _filled(column[start : start + size], size)
        if name in specs and specs[name].scope is Scope.ROW
        else column
        for name, column in inputs.items()
    }


def _filled(part: NDArray[Any], size: int) -> NDArray[Any]:
    missing = size - len(part)
    return np.concatenate([part, np.repeat(part[-1:], missing, axis=0)]) if missing else part


def _joined(parts: list[NDArray[Any]], spec: TensorSpec | None, total: int) -> NDArray[Any]:
    if spec is None or spec.scope is Scope.ROW:
        return np.concatenate(parts)[:total]
    if len(parts) > 1 and spec.scope is not Scope.CALL:
        raise InvalidArgumentError("there must be one row: an output is of the whole call")
    return parts[0]
