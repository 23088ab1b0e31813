"""Cells of a CSV file as values of their column's type; one that is none is its row's fault."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from topicserve.cli.publish.csv_files.exactness import inexact_rows, overflowing
from topicserve.wire.errors import InvalidRecordError

_MAX_SHOWN = 64

Problems = dict[int, InvalidRecordError]


class ColumnType(NamedTuple):
    """What the cells of a column become."""

    kind: Any
    """A type of Arrow's."""
    is_given: bool = False
    """Whether the user named it: then a cell may lose how it is written, as 007 does in int64.

    Of a type that was inferred a later cell must be written as `exactness` says.
    """


def column_of(
    name: str, cells: Any, wanted: ColumnType, problems: Problems, *, empty_is_null: bool = False
) -> Any:
    """Return a column of cells, which are bytes, in its type.

    A cell that is not UTF-8, or no value of the type, is null, and its row has a problem. An empty
    cell of text is the empty text, or with `empty_is_null` null, as it is in all other columns.
    """
    import pyarrow as pa
    from pyarrow import compute

    kind = wanted.kind
    text, unreadable = _convert(cells, lambda part: part.cast(pa.string()))
    for row in unreadable:
        _note(problems, row, name, f"{cells[row].as_py()[:_MAX_SHOWN]!r} is not UTF-8")
    if pa.types.is_string(kind):
        is_null = compute.equal(text, "") if empty_is_null else None
        return text if is_null is None else compute.if_else(is_null, pa.scalar(None, kind), text)
    values, wrong = _convert(text, lambda part: converted(part, kind))
    inexact = [] if wanted.is_given else inexact_rows(text, values, kind)
    for row in [*wrong, *inexact]:
        _note(problems, row, name, _problem(text[row].as_py(), kind, name))
    too_large = overflowing(text, values)
    for row in too_large:
        _note(problems, row, name, f"{text[row].as_py()[:_MAX_SHOWN]!r} is too large for {kind}")
    return _without(values, [*inexact, *too_large])


def converted(text: Any, kind: Any) -> Any:
    """Return text as values, by the rules that CSV has: what is null, what is true, what is a time.

    Raises ArrowInvalid where one is none.
    """
    import pyarrow as pa
    from pyarrow import csv

    # pyarrow converts cells as it reads them, and has no function that does that alone.
    sink = pa.BufferOutputStream()
    # Quoted, an empty cell is a row, too.
    column = pa.table({"cell": text.fill_null("")})
    csv.write_csv(column, sink, csv.WriteOptions(include_header=False, quoting_style="all_valid"))
    written = sink.getvalue()
    read = csv.read_csv(
        pa.BufferReader(written),
        csv.ReadOptions(column_names=["cell"], block_size=max(written.size, 1), use_threads=False),
        csv.ParseOptions(newlines_in_values=True),
        csv.ConvertOptions(column_types={"cell": kind}),
    )
    return read["cell"].combine_chunks()


def _convert(cells: Any, convert: Callable[[Any], Any]) -> tuple[Any, list[int]]:
    """Return cells converted, and the rows of those that cannot be, which are null."""
    import pyarrow as pa

    wrong: list[int] = []

    def parts(start: int, stop: int) -> list[Any]:
        try:
            return [convert(cells[start:stop])]
        except pa.ArrowInvalid:
            if stop - start == 1:
                wrong.append(start)
                return [None]
        middle = (start + stop) // 2
        return parts(start, middle) + parts(middle, stop)

    found = parts(0, len(cells))
    if not wrong:
        return found[0], wrong
    kind = next((part.type for part in found if part is not None), pa.null())
    arrays = [pa.nulls(1, kind) if part is None else part for part in found]
    return pa.concat_arrays(arrays), wrong


def _without(values: Any, rows: Sequence[int]) -> Any:
    """Return values of which those in these rows are null."""
    import pyarrow as pa
    from pyarrow import compute

    if not rows:
        return values
    is_out = np.zeros(len(values), bool)
    is_out[list(rows)] = True
    return compute.if_else(pa.array(is_out), pa.scalar(None, values.type), values)


def _problem(cell: str, kind: Any, name: str) -> str:
    return (
        f"{cell[:_MAX_SHOWN]!r} is not {kind}, the column's type; give another "
        f"with --column-types {name}=string"
    )


def _note(problems: Problems, row: int, name: str, problem: str) -> None:
    problems.setdefault(row, InvalidRecordError(name, problem))
