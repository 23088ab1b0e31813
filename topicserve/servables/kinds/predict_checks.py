"""What every kind checks around a prediction, in the same words.

A kind calls these before and after its own work, so that the same mistake reads the same
everywhere.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topicserve.servables.core.errors import InvalidArgumentError, RowCountError
from topicserve.servables.kinds.servable import Columns, Scope, TensorSpec

Shape = Sequence[int | None]
"""Sizes of a row or of a whole tensor; None where a size is unknown."""

_NONE: Mapping[str, TensorSpec] = {}

ALONE_REMEDY = (
    "set the option batch_records = false of the model (one that a pipeline calls has it in its "
    "own entry, as the pipeline has no such option)"
)
"""What to do for a model whose rows cannot share a call."""


def unknown_signature(name: str, known: Iterable[str]) -> InvalidArgumentError:
    """Return the error for a signature that a servable does not have."""
    return InvalidArgumentError(
        f"there is no signature {name!r}; known: {', '.join(sorted(known))}"
    )


def rows_of(columns: Columns, specs: Mapping[str, TensorSpec]) -> int | None:
    """Return how many rows the columns with rows have, None where no column has any.

    Raises InvalidArgumentError where they differ.
    """
    counts = {
        name: len(column) if np.ndim(column) else 0
        for name, column in columns.items()
        if name in specs and specs[name].scope is Scope.ROW
    }
    if len(set(counts.values())) > 1:
        raise InvalidArgumentError(f"inputs differ in their number of rows: {counts}")
    return next(iter(counts.values()), None)


def check_rows(outputs: Columns, rows: int, specs: Mapping[str, TensorSpec] = _NONE) -> None:
    """Raise RowCountError where an output has not a row for each row that came in.

    Of outputs that `specs` declare, those with rows alone are looked at.
    """
    for name, column in outputs.items():
        if np.ndim(column) and len(column) == rows:
            continue
        if name not in specs or specs[name].scope is Scope.ROW:
            raise RowCountError(
                f"output {name!r} has the shape {list(np.shape(column))} for {rows} rows; for a "
                f"model that answers so, {ALONE_REMEDY}"
            )


def check_shape(column: NDArray[Any], spec: TensorSpec, name: str) -> None:
    """Raise InvalidArgumentError where an input has not the declared shape, as far as it is known.

    TensorFlow runs on a wrong number of features where the graph allows it.
    """
    declared, found = spec.shape, np.shape(column)
    if spec.scope is Scope.ROW:
        if not found:
            raise InvalidArgumentError(f"input {name!r} is a scalar; it must have rows")
        found = found[1:]
    if declared is None or found == declared or shape_fits(found, declared):
        return
    what = "a row must have" if spec.scope is Scope.ROW else "must have"
    raise InvalidArgumentError(
        f"input {name!r}: {what} the shape {shape_text(declared)}, found {shape_text(found)}"
    )


def shape_fits(found: Shape, declared: Shape) -> bool:
    """Return whether sizes are those declared, as far as they are known."""
    return len(found) == len(declared) and all(
        wanted is None or wanted == size for size, wanted in zip(found, declared, strict=True)
    )


def shape_text(shape: Shape) -> str:
    """Return a shape for an error message."""
    return f"[{', '.join('?' if size is None else str(size) for size in shape)}]"
