"""What every kind checks around a prediction, in the same words."""

from collections.abc import Iterable, Sequence

import numpy as np

from topicserve.servables.errors import FailedPreconditionError, InvalidArgumentError
from topicserve.servables.servable import Columns

Shape = Sequence[int | None]
"""Sizes of a row; None where a size is unknown."""


def unknown_signature(name: str, known: Iterable[str]) -> InvalidArgumentError:
    """Return the error for a signature that a servable does not have."""
    return InvalidArgumentError(
        f"there is no signature {name!r}; known: {', '.join(sorted(known))}"
    )


def check_rows(outputs: Columns, rows: int) -> None:
    """Raise FailedPreconditionError where an output has not a row for each row that came in."""
    for name, column in outputs.items():
        if np.ndim(column) == 0 or len(column) != rows:
            raise FailedPreconditionError(
                f"output {name!r} has the shape {list(np.shape(column))} for {rows} rows"
            )


def shape_fits(found: Shape, declared: Shape) -> bool:
    """Return whether a row's sizes are those declared, as far as they are known."""
    return len(found) == len(declared) and all(
        wanted is None or wanted == size for size, wanted in zip(found, declared, strict=True)
    )


def shape_text(shape: Shape) -> str:
    """Return a shape for an error message."""
    return f"[{', '.join('?' if size is None else str(size) for size in shape)}]"
