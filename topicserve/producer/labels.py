"""Rows that name their values, such as a data frame's: a list would lose the names."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from topicserve.wire.errors import InvalidRecordError


def refuse_labelled(row: Any, field: str) -> None:
    """Raise InvalidRecordError for a row that names its values, with what to give instead.

    A worker would put them where the signature's order says, not where their names do.
    """
    remedy = _remedy(row)
    if remedy:
        kind = type(row).__name__
        raise InvalidRecordError(field, f"is a {kind} whose names would be lost; {remedy}")


def refuse_labelled_rows(rows: Sequence[Any], field: str) -> None:
    """Raise InvalidRecordError for the first of the rows that names its values.

    A column of a data frame has labels too, but they name its rows, not the values of one row.
    """
    if isinstance(rows, np.ndarray) or hasattr(rows, "_asdict"):
        refuse_labelled(rows, field)
        return
    kinds = {kind for kind in set(map(type, rows)) if _may_have_labels(kind)}
    if kinds:
        for index, row in enumerate(rows):
            refuse_labelled(row, f"{field}[{index}]")


def _may_have_labels(kind: type) -> bool:
    return hasattr(kind, "_asdict") or hasattr(kind, "to_dict") or issubclass(kind, np.void)


def _remedy(row: Any) -> str | None:
    if hasattr(row, "_asdict"):  # a namedtuple, as DataFrame.itertuples makes them
        return "give row._asdict(), or tuple(row) for a list of its values"
    if isinstance(row, np.void) and row.dtype.names:
        return "give dict(zip(row.dtype.names, row.item()))"
    if isinstance(row, np.ndarray) and row.dtype.names:
        return "give inputs={name: array[name] for name in array.dtype.names}"
    if hasattr(row, "to_dict") and isinstance(next(iter(getattr(row, "index", ())), None), str):
        return "give row.to_dict(), or row.tolist() for a list of its values"
    return None
