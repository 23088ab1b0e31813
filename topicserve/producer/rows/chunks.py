"""Tables of all sorts, cut into chunks of columns: numpy, pandas, Arrow, columns by name.

Neither pandas nor pyarrow is imported for a table that is not theirs.
"""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from topicserve.wire.errors import InvalidRecordError

CHUNK_ROWS = 1000

ONLY = ""
"""The name of an array's only column."""

_WANTED = (
    "must be a numpy array, columns by name, a pandas DataFrame or Series, or an Arrow table or "
    "array (also __arrow_c_stream__ of a table, with pyarrow installed)"
)


class Chunk(NamedTuple):
    """Some rows of a table, by column, as the table has them (see `values_of`)."""

    start: int
    """Which row of the table is the first here."""
    rows: int
    columns: Mapping[str, Any]
    problems: Mapping[int, InvalidRecordError] = MappingProxyType({})
    """Which of the rows could not be read, from 0, and why."""


def chunks_of(table: Any, max_rows: int = CHUNK_ROWS) -> Iterator[Chunk]:
    """Yield a table's rows in order. Raises InvalidRecordError for what is no table."""
    if isinstance(table, np.ndarray):
        yield from _of_array(table, max_rows)
    elif isinstance(table, Mapping):
        yield from _of_columns(table, max_rows)
    elif hasattr(table, "iloc") and hasattr(table, "columns"):
        yield from _of_columns(dict(_series(table)), max_rows)
    elif hasattr(table, "read_next_batch") or hasattr(table, "to_batches"):
        yield from _of_batches(iter(getattr(table, "to_batches", lambda: table)()), max_rows)
    elif hasattr(table, "schema") and hasattr(table, "num_rows"):
        yield from _of_batches(iter([table]), max_rows)
    elif hasattr(table, "iloc") or hasattr(table, "to_pylist"):  # a series, an Arrow array
        yield from _of_columns({ONLY: table}, max_rows)
    elif hasattr(table, "__arrow_c_stream__"):
        yield from _of_batches(_of_stream(table), max_rows)
    else:
        raise InvalidRecordError("rows", f"{_WANTED}; found {type(table).__name__}")


def row_count(table: Any) -> int | None:
    """Return how many rows a table has; None of a stream, of which that is not known."""
    if isinstance(table, Mapping):
        return max(map(len, table.values()), default=0)
    if hasattr(table, "num_rows"):
        return int(table.num_rows)
    try:
        return len(table)
    except TypeError:
        return None


def _of_stream(table: Any) -> Iterator[Any]:
    from pyarrow import ArrowException, RecordBatchReader

    try:
        return iter(RecordBatchReader.from_stream(table))
    except ArrowException as error:
        raise InvalidRecordError("rows", f"{_WANTED}; its stream has no columns: {error}") from None


def _of_array(array: NDArray[Any], max_rows: int) -> Iterator[Chunk]:
    if array.ndim == 0:
        raise InvalidRecordError("rows", "is an array without rows")
    if array.dtype.names:
        columns = {name: array[name] for name in array.dtype.names}
    else:
        columns = {ONLY: array}
    return _of_columns(columns, max_rows)


def _of_columns(columns: Mapping[Any, Any], max_rows: int) -> Iterator[Chunk]:
    if not columns:
        raise InvalidRecordError("rows", "has no columns")
    lengths = {str(name): len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InvalidRecordError("rows", f"has columns of different lengths: {lengths}")
    rows = max(lengths.values(), default=0)
    for start in range(0, rows, max_rows):
        stop = min(start + max_rows, rows)
        yield Chunk(
            start,
            stop - start,
            {str(name): _cut(column, start, stop) for name, column in columns.items()},
        )


def _cut(column: Any, start: int, stop: int) -> Any:
    """Return some of a column: a series may have labels that are numbers, too."""
    return (column.iloc if hasattr(column, "iloc") else column)[start:stop]


def _series(frame: Any) -> Iterator[tuple[str, Any]]:
    names = distinct([str(name) for name in frame.columns])
    for index, name in enumerate(names):
        yield name, frame.iloc[:, index]


def distinct(names: Sequence[str]) -> Sequence[str]:
    """Return the columns' names; raises InvalidRecordError where two are the same."""
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InvalidRecordError("rows", f"has two columns named {twice!r}")
    return names


def _of_batches(batches: Iterator[Any], max_rows: int) -> Iterator[Chunk]:
    start = 0
    for batch in batches:
        names = distinct(batch.schema.names)
        for first in range(0, batch.num_rows, max_rows):
            part = batch.slice(first, max_rows)
            columns = {name: part.column(i) for i, name in enumerate(names)}
            yield Chunk(start, part.num_rows, columns)
            start += part.num_rows
