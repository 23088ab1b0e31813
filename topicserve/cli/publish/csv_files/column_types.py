"""Which type each column of a CSV file has."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from topicserve.cli.errors import UsageError
from topicserve.cli.publish.csv_files.cells import converted
from topicserve.producer.rows.chunks import distinct

_WANTED = "one of Arrow's types, such as int64, float64, bool, string, date32 or timestamp[ns]"
_MAX_UINT64 = 2**64 - 1
_MAX_DIGITS = 20


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
) -> dict[str, Any]:
    """Return each column's type in order: as given, else what the first rows' cells are.

    `head` is the beginning of a file; the row that it may end in is left out where it `is_cut`.

    What is no number, time or boolean is text, and so is a column whose cells are all empty or
    `NA`; whole numbers that no integer of Arrow's holds are text, too. Raises UsageError for a
    column that is not there.
    """
    import pyarrow as pa

    rows = _whole_rows(head) if is_cut else head
    inferred = _read(rows, delimiter).schema
    names = distinct(inferred.names)
    unknown = next((name for name in given if name not in names), None)
    if unknown is not None:
        known = ", ".join(map(repr, names))
        raise UsageError(f"there is no column {unknown!r}, only {known}")
    types = {}
    for field in inferred:
        if field.name in given:
            types[field.name] = given[field.name]
        elif pa.types.is_null(field.type) or pa.types.is_binary(field.type):
            types[field.name] = pa.string()
        elif pa.types.is_floating(field.type):
            types[field.name] = _type_of_numbers(field.name, names, rows, delimiter)
        else:
            types[field.name] = field.type
    return types


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


def _type_of_numbers(name: str, names: Sequence[str], rows: bytes, delimiter: str) -> Any:
    """Return float64 but for whole numbers beyond int64, which it would round."""
    import pyarrow as pa

    cells = binary_reader(rows, delimiter, names).read_all()[name].combine_chunks()
    numbers = set(cells.to_pylist()) - set(map(str.encode, _null_values()))
    if not all(number.strip().lstrip(b"+-").isdigit() for number in numbers):
        return pa.float64()
    is_unsigned = all(
        len(number.strip()) <= _MAX_DIGITS and 0 <= int(number) <= _MAX_UINT64 for number in numbers
    )
    return pa.uint64() if is_unsigned else pa.string()


def _null_values() -> Sequence[str]:
    from pyarrow import csv

    return list(csv.ConvertOptions().null_values)


def _type(alias: str) -> Any:
    import pyarrow as pa

    try:
        kind = pa.type_for_alias(alias)
        converted(pa.array([""]), kind)
    except (ValueError, TypeError, NotImplementedError):  # pyarrow's errors are these, too
        raise UsageError(f"--column-types: must be {_WANTED}, found {alias[:64]!r}") from None
    return kind
