"""The formats that a table is read from: lines of CSV or of JSON."""

import csv
import io
from collections.abc import Iterator

import msgspec

from topicserve.servables.core.errors import DataLossError, InvalidArgumentError
from topicserve.servables.sources.regular_files import open_regular_file

Cell = str | int | float
Rows = Iterator[tuple[int, Cell, Cell]]
"""Number of the line, key, value."""


class _Row(msgspec.Struct):
    key: str | int
    value: str | int | float


def read_csv(file: str) -> Rows:
    """Yield the rows of key,value, quoted as CSV has it; every error names the file."""
    try:
        with (
            open_regular_file(file) as content,
            io.TextIOWrapper(content, encoding="utf-8", newline="") as lines,
        ):
            reader = csv.reader(lines, strict=True)
            for row in filter(None, reader):
                if len(row) != 2:
                    raise InvalidArgumentError(
                        f"{file}, line {reader.line_num}: "
                        f"must be key,value, found {len(row)} fields"
                    )
                yield reader.line_num, row[0], row[1]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataLossError(f"{file}: {error}") from None


def read_json_lines(file: str) -> Rows:
    """Yield the rows of objects {"key": ..., "value": ...}; every error names the file."""
    decoder = msgspec.json.Decoder(_Row)
    with open_regular_file(file) as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise InvalidArgumentError(f"{file}, line {number}: {error}") from None
            yield number, row.key, row.value


READERS = {"csv": read_csv, "json_lines": read_json_lines}
