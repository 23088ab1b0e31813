"""A CSV file as a table, read by pyarrow in flat memory."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from topicserve.cli.errors import UsageError
from topicserve.cli.publish.arrow_tables import batch_chunks, pyarrow, readable
from topicserve.cli.publish.csv_files.cells import ColumnType, Problems, column_of
from topicserve.cli.publish.csv_files.column_types import binary_reader, read_types, types_of
from topicserve.cli.publish.csv_files.long_lines import BoundedLines
from topicserve.cli.publish.files import Input
from topicserve.cli.publish.rows import MAX_TOLD
from topicserve.cli.publish.table_source import Columns
from topicserve.cli.terminal import say
from topicserve.producer.rows.chunks import Chunk

_MAX_SHOWN = 64
_BLOCK_BYTES = 1024 * 1024
_REMEDY = "a CSV file has its columns' names in the first line, and rows of up to 1 MiB"


class _WrongRow(NamedTuple):
    """The first row with too few or too many values."""

    row: int
    """How many rows are before it."""
    problem: str


class CsvTable:
    """A CSV file whose first line has the columns' names; types are those of its first megabyte.

    A position is found again by reading the file from its beginning.
    """

    def __init__(
        self, opened: Input, columns: Columns, *, delimiter: str = ",", skip_invalid: bool = False
    ) -> None:
        self.name = opened.name
        self._input = opened
        self._columns = columns
        text = {*columns.text, columns.record_id, columns.key} - {None}
        self._given_types = dict.fromkeys(text, pyarrow().string()) | read_types(columns.types)
        self._delimiter = delimiter
        self._skip_invalid = skip_invalid
        self.skipped_rows = 0
        self._wrong: _WrongRow | None = None
        self._long_line = ""
        """What is wrong with the first line that is too long: nothing is read behind it."""
        self._is_packed = False
        self._row_bytes = 0.0
        self._rows_read = 0
        self.identity = opened.identity
        self.close = opened.close

    def fraction(self) -> float | None:
        """Return which part of the rows was read, by the size of those of the first block.

        The file itself is read further ahead: up to 32 blocks.
        """
        if not self._input.size or self._is_packed:
            return self._input.fraction()
        return min(self._rows_read * self._row_bytes / self._input.size, 1.0)

    def rows(self) -> int | None:
        """Return None: rows are not counted before they are read."""
        return None

    def chunks(self, start: int) -> Iterator[Chunk]:
        """See RowTable."""
        first = 0
        with readable(self.name, _REMEDY):
            file = self._input.text()
            # A file that is packed is told by what was read of it, which is further ahead.
            self._is_packed = file is not self._input.file
            lines = BoundedLines(file, self._on_long_line)
            head = lines.read(_BLOCK_BYTES)
            try:
                is_cut = len(head) == _BLOCK_BYTES
                types = types_of(head, self._delimiter, self._given_types, is_cut=is_cut)
            except UsageError as error:
                raise UsageError(f"{self.name}: {error}") from None
            reader = binary_reader(
                _Rejoined(head, lines),
                self._delimiter,
                list(types),
                block_bytes=_BLOCK_BYTES,
                on_invalid_row=self._on_invalid_row,
            )
            for batch in reader:
                if not self._row_bytes:
                    size = min(self._input.size or 0, _BLOCK_BYTES)
                    self._row_bytes = size / max(batch.num_rows, 1)
                whole = batch
                if self._wrong is not None:
                    batch = batch.slice(0, self._wrong.row - first)
                for chunk in batch_chunks(batch, first, max(start - first, 0)):
                    self._rows_read = chunk.start
                    yield self._typed(chunk, types)
                first += batch.num_rows
                self._rows_read = first
                if batch.num_rows < whole.num_rows:
                    break
        problem = self._wrong.problem if self._wrong is not None else self._long_line
        if problem:
            raise UsageError(f"{self.name}: row {first + 1:,}: {problem}")

    def _typed(self, chunk: Chunk, types: dict[str, ColumnType]) -> Chunk:
        """Return the columns that are needed with their types."""
        problems: Problems = {}
        columns = dict(chunk.columns)
        for name in self._columns.needed() or columns:
            if name in columns:
                columns[name] = column_of(
                    name,
                    columns[name],
                    types[name],
                    problems,
                    empty_is_null=name in self._columns.metadata_alone(),
                )
        return chunk._replace(columns=columns, problems=problems)

    def _on_long_line(self, begin: bytes) -> bool:
        """Pass over a line of more than a megabyte, or let the file end there."""
        problem = f"is longer than 1 MiB: {begin.decode(errors='replace')!r}"
        if not self._skip_invalid:
            self._long_line = f"{problem}; make it shorter, or pass --skip-invalid"
            return False
        self._skip(f"a row {problem}")
        return True

    def _skip(self, problem: str) -> None:
        self.skipped_rows += 1
        if self.skipped_rows <= MAX_TOLD:
            say(f"{self.name}: {problem}")

    def _on_invalid_row(self, row: Any) -> str:
        """Pass over a row with too few or too many values, or note the first of them.

        Rows are parsed ahead of those that are published.
        """
        text = f"{row.text[:_MAX_SHOWN]!r}"
        if self._skip_invalid:
            self._skip(
                f"a row has {row.actual_columns} values in place of {row.expected_columns}: {text}"
            )
        elif self._wrong is None:
            self._wrong = _WrongRow(
                row.number - 2,  # the first is the names', and they are counted from 1
                f"has {row.actual_columns} values in place of {row.expected_columns}: {text}; "
                "correct it, or pass --skip-invalid",
            )
        return "skip"


class _Rejoined:
    """A file whose beginning was read already."""

    closed = False

    def __init__(self, head: bytes, rest: BoundedLines) -> None:
        self._head = head
        self._rest = rest
        self.close: Callable[[], None] = lambda: None

    def read(self, size: int) -> bytes:
        if not self._head:
            return self._rest.read(size)
        data, self._head = self._head[:size], self._head[size:]
        return data
