"""Tables: each row of a CSV or Parquet file, of numpy's files or of a folder is a record.

A RowTable reads columns in chunks; `topicserve.producer.rows` makes records of them, as it does of
a caller's own arrays.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from topicserve.cli.errors import UsageError
from topicserve.cli.publish.rows import Position, Row
from topicserve.producer.record import StoredElsewhere
from topicserve.producer.rows.chunks import Chunk
from topicserve.producer.rows.mapping import RowMapping
from topicserve.wire.errors import InvalidRecordError


class Columns(NamedTuple):
    """Which columns are what, as the flags say."""

    inputs: Sequence[str] | None = None
    row: str | None = None
    tensors: bool = False
    metadata: Sequence[str] = ()
    record_id: str | None = None
    key: str | None = None
    text: Sequence[str] = ()
    types: str | None = None
    """Types of a CSV file's columns, NAME=TYPE,NAME=TYPE."""
    without_metadata: StoredElsewhere | None = None
    """What records are told to have where there are no metadata columns."""

    def needed(self) -> list[str] | None:
        """Return the columns that must be read, None for all of them."""
        if self.inputs is None:
            return None
        others = [name for name in (self.record_id, self.key) if name]
        return list(dict.fromkeys([*self.inputs, *self.metadata, *others]))

    def metadata_alone(self) -> set[str]:
        """Return the columns that are metadata, and no input."""
        return set(self.metadata) - set(self.inputs or ())

    def mapping(self) -> RowMapping:
        """Return what makes records of rows."""
        inputs: str | Sequence[str] | None = self.inputs
        if self.row == "value":
            if self.inputs is None or len(self.inputs) != 1:
                raise UsageError("--row value: name the one column with --input-columns")
            inputs = self.inputs[0]
        return RowMapping(
            inputs=inputs,
            vector=self.row == "list",
            tensors=self.tensors,
            metadata=self.metadata or self.without_metadata,
            record_ids=self.record_id,
            keys=self.key,
        )


class RowTable(Protocol):
    """A table that is read in chunks, from any row on."""

    name: str

    @property
    def skipped_rows(self) -> int:
        """See RowSource."""

    def chunks(self, start: int) -> Iterator[Chunk]:
        """Yield the rows from a number on; raises UsageError for a file that cannot be read."""

    def rows(self) -> int | None:
        """Return how many rows there are, where that is known."""

    def fraction(self) -> float | None:
        """See RowSource."""

    def identity(self) -> dict[str, object]:
        """See RowSource."""

    def close(self) -> None:
        """See RowSource."""


class TableSource:
    """Makes records of a table's rows; a position is the number of rows before it."""

    def __init__(self, table: RowTable, columns: Columns) -> None:
        self.name = table.name
        self._table = table
        self._mapping = columns.mapping()
        self.fraction: Callable[[], float | None] = table.fraction
        self.identity = table.identity
        self.close = table.close

    @property
    def skipped_rows(self) -> int:
        """See RowSource."""
        return self._table.skipped_rows

    def rows(self, start: Position | None) -> Iterator[Row]:
        """See RowSource."""
        for chunk in self._table.chunks(int(start or 0)):
            try:
                records = self._mapping.of_chunk(chunk)
            except InvalidRecordError as error:  # of the columns, not of a row
                raise UsageError(f"{self.name}: {error}") from error
            for row, record in enumerate(records, start=chunk.start + 1):
                yield Row(row, f"{self.name}: row {row:,}", record)

    def left(self, start: Position | None) -> int | None:
        """See RowSource."""
        rows = self._table.rows()
        return None if rows is None else max(rows - int(start or 0), 0)
