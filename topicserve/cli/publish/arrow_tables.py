"""CSV and Parquet files, read by pyarrow in flat memory: a block or a row group at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from topicserve.cli.errors import UsageError
from topicserve.cli.publish.files import Input
from topicserve.cli.publish.rows import MAX_TOLD
from topicserve.cli.publish.table_source import Columns
from topicserve.cli.terminal import say
from topicserve.producer.rows.chunks import CHUNK_ROWS, Chunk, distinct
from topicserve.wire.errors import InvalidRecordError

_CSV_REMEDY = (
    "name columns that are text with --text-columns, or pass --skip-invalid for rows with too few "
    "or too many values"
)
_MAX_SHOWN = 64
_CSV_BLOCK_BYTES = 1024 * 1024
_PARQUET_BUFFER_BYTES = 1024 * 1024


class CsvTable:
    """A CSV file whose first line has the columns' names; types are those of its first megabyte.

    A later value that does not fit its column's type ends it, unless the column is text. A position
    is found again by reading the file from its beginning.
    """

    def __init__(
        self, opened: Input, columns: Columns, *, delimiter: str = ",", skip_invalid: bool = False
    ) -> None:
        self.name = opened.name
        self._input = opened
        self._columns = columns
        self._delimiter = delimiter
        self._skip_invalid = skip_invalid
        self.skipped_rows = 0
        self._row_bytes = 0.0
        self._rows_read = 0
        self.identity = opened.identity
        self.close = opened.close

    def fraction(self) -> float | None:
        """Return which part of the rows was read, by the size of those of the first block.

        The file itself is read further ahead: up to 32 blocks.
        """
        if not self._input.size:
            return None
        return min(self._rows_read * self._row_bytes / self._input.size, 1.0)

    def rows(self) -> int | None:
        """Return None: rows are not counted before they are read."""
        return None

    def chunks(self, start: int) -> Iterator[Chunk]:
        """See RowTable."""
        first = 0
        with _readable(self.name, _CSV_REMEDY):
            for batch in self._open():
                if not self._row_bytes:
                    size = min(self._input.size or 0, _CSV_BLOCK_BYTES)
                    self._row_bytes = size / max(batch.num_rows, 1)
                for chunk in _chunks(batch, first, max(start - first, 0)):
                    self._rows_read = chunk.start
                    yield chunk
                first += batch.num_rows
                self._rows_read = first

    def _open(self) -> Any:
        from pyarrow import csv

        text = {*self._columns.text, self._columns.record_id, self._columns.key} - {None}
        return csv.open_csv(
            self._input.file,
            csv.ReadOptions(block_size=_CSV_BLOCK_BYTES, use_threads=False),
            csv.ParseOptions(
                delimiter=self._delimiter,
                newlines_in_values=True,
                invalid_row_handler=self._on_invalid_row,
            ),
            csv.ConvertOptions(column_types=dict.fromkeys(text, pyarrow().string())),
        )

    def _on_invalid_row(self, row: Any) -> str:
        """Say whether a row with too few or too many values is to be skipped."""
        if not self._skip_invalid:
            return "error"
        self.skipped_rows += 1
        if self.skipped_rows <= MAX_TOLD:
            say(
                f"{self.name}: a row has {row.actual_columns} values in place of "
                f"{row.expected_columns}: {row.text[:_MAX_SHOWN]!r}"
            )
        return "skip"


class ParquetTable:
    """A Parquet file; row groups before the first row that is wanted are not read."""

    skipped_rows = 0

    def __init__(self, opened: Input, columns: Columns) -> None:
        self.name = opened.name
        self._input = opened
        self._columns = columns
        opened.spooled()
        self._file = self._open()
        self.identity = opened.identity

    def rows(self) -> int:
        """See RowTable."""
        return int(self._file.metadata.num_rows)

    def fraction(self) -> None:
        """Return None: the rows are known."""
        return

    def close(self) -> None:
        """See RowTable."""
        self._file.close()
        self._input.close()

    def chunks(self, start: int) -> Iterator[Chunk]:
        """See RowTable."""
        groups: list[int] = []
        first = 0
        for group in range(self._file.metadata.num_row_groups):
            rows = self._file.metadata.row_group(group).num_rows
            if not groups and first + rows <= start:
                first += rows
            else:
                groups.append(group)
        names = self._columns.needed()
        with _readable(self.name):
            for batch in self._file.iter_batches(
                batch_size=CHUNK_ROWS, row_groups=groups, columns=names, use_threads=False
            ):
                yield from _chunks(batch, first, max(start - first, 0))
                first += batch.num_rows

    def _open(self) -> Any:
        from pyarrow import parquet

        with _readable(self.name, "is it a Parquet file?"):
            return parquet.ParquetFile(
                self._input.file, buffer_size=_PARQUET_BUFFER_BYTES, pre_buffer=False
            )


def pyarrow() -> Any:
    """Return the module; raises UsageError where it is not installed."""
    try:
        import pyarrow as module
    except ModuleNotFoundError:
        raise UsageError(
            "CSV and Parquet files need pyarrow, which is not installed; "
            "run: pip install 'topicserve[tables]'"
        ) from None
    return module


@contextmanager
def _readable(name: str, remedy: str = "") -> Iterator[None]:
    """Raise UsageError for what a file holds."""
    try:
        yield
    except InvalidRecordError as error:
        raise UsageError(f"{name}: {error}") from error
    except (pyarrow().ArrowException, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"{name}: {error}{'; ' if remedy else ''}{remedy}") from error


def _chunks(batch: Any, first: int, skipped: int) -> Iterator[Chunk]:
    names = distinct(batch.schema.names)
    for start in range(skipped, batch.num_rows, CHUNK_ROWS):
        part = batch.slice(start, CHUNK_ROWS)
        columns = {name: part.column(index) for index, name in enumerate(names)}
        yield Chunk(first + start, part.num_rows, columns)
