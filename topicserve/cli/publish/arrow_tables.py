"""Parquet files, a row group at a time, and what all that pyarrow reads has in common."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from topicserve.cli.errors import UsageError
from topicserve.cli.publish.files import Input
from topicserve.cli.publish.table_source import Columns
from topicserve.producer.rows.chunks import CHUNK_ROWS, Chunk, distinct
from topicserve.wire.errors import InvalidRecordError

_PARQUET_BUFFER_BYTES = 1024 * 1024


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
        with readable(self.name):
            for batch in self._file.iter_batches(
                batch_size=CHUNK_ROWS, row_groups=groups, columns=names, use_threads=False
            ):
                yield from batch_chunks(batch, first, max(start - first, 0))
                first += batch.num_rows

    def _open(self) -> Any:
        from pyarrow import parquet

        with readable(self.name, "is it a Parquet file?"):
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
def readable(name: str, remedy: str = "") -> Iterator[None]:
    """Raise UsageError for what a file holds."""
    try:
        yield
    except InvalidRecordError as error:
        raise UsageError(f"{name}: {error}") from error
    except (pyarrow().ArrowException, UnicodeDecodeError, OSError) as error:
        problem = getattr(error, "strerror", None) or error
        raise UsageError(f"{name}: {problem}{'; ' if remedy else ''}{remedy}") from error


def batch_chunks(batch: Any, first: int, skipped: int) -> Iterator[Chunk]:
    """Yield a batch's rows, of which the first so many are skipped; `first` rows are before it."""
    names = distinct(batch.schema.names)
    for start in range(skipped, batch.num_rows, CHUNK_ROWS):
        part = batch.slice(start, CHUNK_ROWS)
        columns = {name: part.column(index) for index, name in enumerate(names)}
        yield Chunk(first + start, part.num_rows, columns)
