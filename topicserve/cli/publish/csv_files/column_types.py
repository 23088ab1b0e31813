"""Which type each column of a CSV file has."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from topicserve.cli.errors import UsageError
from topicserve.cli.publish.csv_files.cells import ColumnType, converted
from topicserve.cli.publish.csv_files.exactness import inexact_rows
from topicserve.producer.rows.chunks import distinct

_WANTED = "one of Arrow's types, such as int64, float64, bool, string, date32 or timestamp[ns]"


def read_types(typed: str | None) -> dict[str, Any]:
    """Return the types that --column-types names, by column. Raises UsageError."""
    types = {}
    for one in typed.split(",") if typed is not None else ():
        name, equals, alias = one.rpartition("=")
        if not name or not equals:
            raise UsageError(f"--column-types: must be NAME=TYPE[,NAME=TYPE], found {one[:64]!r}")
        types[name.strip()] = _type(alias.strip())
    return types


def types_of(
    head: bytes, delimiter: str, given: Mapping[str, Any], *, is_cut: bool = False
) -> dict[str, ColumnType]:
    """Return each column's type in order: as given, else what the first rows' cells are.

    `head` is the beginning of a file; the row that it may end in is left out where it `is_cut`.

    A column is of numbers or booleans where every cell is one and nothing else (see `exactness`),
    and text otherwise, as are dates, times, and a column whose cells are all empty or `NA`. Raises
    UsageError for a column that is not there.
    """
    rows = _whole_rows(head) if is_cut else head
    inferred = _read(rows, delimiter).schema
    names = distinct(inferred.names)
    unknown = next((name for name in given if name not in names), None)
    if unknown is not None:
        known = ", ".join(map(repr, names))
        raise UsageError(f"there is no column {unknown!r}, only {known}")
    cells = binary_reader(rows, delimiter, names).read_all()
    return {
        field.name: ColumnType(given[field.name], is_given=True)
        if field.name in given
        else _inferred(cells[field.name].combine_chunks(), field.type)
        for field in inferred
    }


def binary_reader(file: Any, delimiter: str, names: Sequence[str], **options: Any) -> Any:
    """Return a reader of batches whose cells are bytes as they are in the file."""
    import pyarrow as pa

    return _read(file, delimiter, dict.fromkeys(names, pa.binary()), **options)


def _read(
    file: Any,
    delimiter: str,
    column_types: Mapping[str, Any] | None = None,
    *,
    block_bytes: int | None = None,
    on_invalid_row: Any = None,
) -> Any:
    from pyarrow import csv

    if isinstance(file, bytes):
        block_bytes = max(len(file), 1)
        file = io.BytesIO(file)
    return csv.open_csv(
        file,
        csv.ReadOptions(block_size=block_bytes, use_threads=False),
        csv.ParseOptions(
            delimiter=delimiter,
            newlines_in_values=True,
            invalid_row_handler=on_invalid_row or (lambda _: "skip"),
        ),
        csv.ConvertOptions(column_types=column_types),
    )


def _whole_rows(head: bytes) -> bytes:
    """Return the beginning of a file without the row that it may end in."""
    end = max(head.rfind(b"\n"), head.rfind(b"\r")) + 1
    return head[:end] or head


def _inferred(cells: Any, kind: Any) -> ColumnType:
    """Return the type that pyarrow finds, if all cells are that exactly; text otherwise."""
    import pyarrow as pa

    for candidate in _candidates(kind):
        text = cells.cast(pa.string())
        # Whole numbers alone are here beyond uint64, or begin with a +, as phone numbers do.
        is_taken = _is_exactly(text, candidate) and not (
            candidate == pa.float64() and _are_whole(text)
        )
        if is_taken:
            return ColumnType(candidate)
    return ColumnType(pa.string())


def _is_exactly(text: Any, kind: Any) -> bool:
    import pyarrow as pa

    try:
        values = converted(text, kind)
    except pa.ArrowInvalid:
        return False
    return not inexact_rows(text, values, kind)


def _candidates(kind: Any) -> Sequence[Any]:
    import pyarrow as pa

    if pa.types.is_floating(kind):
        # Whole numbers beyond int64 are floats to pyarrow.
        return pa.uint64(), pa.float64()
    return [kind] if pa.types.is_integer(kind) or pa.types.is_boolean(kind) else []


def _are_whole(text: Any) -> bool:
    """Tell a column of whole numbers alone, signs and leading zeros included."""
    import pyarrow as pa
    from pyarrow import compute

    is_missing = compute.is_null(converted(text, pa.float64()))
    is_whole = compute.match_substring_regex(text, r"^[ \t]*[+-]?[0-9]+[ \t]*$")
    return bool(compute.all(compute.or_(is_missing, is_whole)).as_py())


def _type(alias: str) -> Any:
    import pyarrow as pa

    try:
        kind = pa.type_for_alias(alias)
        converted(pa.array([""]), kind)
    except (ValueError, TypeError, NotImplementedError):  # pyarrow's errors are these, too
        raise UsageError(f"--column-types: must be {_WANTED}, found {alias[:64]!r}") from None
    return kind
