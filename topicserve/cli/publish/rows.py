"""What a source yields: records, each with the position behind it. The contract of all sources."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from topicserve.producer.record import Record
from topicserve.wire.errors import InvalidRecordError

MAX_TOLD = 10
"""How many rows that are skipped are reported, each in a line."""

Position = int | str
"""Up to where a source was read: a number of rows or lines, or a file's name."""


class Row(NamedTuple):
    """A record to publish, or why there is none."""

    position: Position
    """Where the source is read on behind this row."""
    place: str
    """What a person is told: `rows.csv:7`."""
    record: Record | InvalidRecordError


class RowSource(Protocol):
    """A file or folder. One thread reads it, once.

    Positions are what a checkpoint keeps. Reading on behind one must give the rows that were behind
    it before, as long as `identity` is the same. A row that is wrong is yielded with its error;
    only what makes the rest unreadable is raised.
    """

    name: str
    """What a person calls it."""

    @property
    def skipped_rows(self) -> int:
        """Return how many rows the source itself has left out: they are none that it yields."""

    def rows(self, start: Position | None) -> Iterator[Row]:
        """Yield the rows behind a position, None for the first.

        May block on the file or on standard input. Raises UsageError where the file cannot be read
        on.
        """

    def left(self, start: Position | None) -> int | None:
        """Return how many rows there are behind a position, where that is known."""

    def fraction(self) -> float | None:
        """Return which part of the source was read, where `left` is not known and this is."""

    def identity(self) -> dict[str, object]:
        """Return by what a checkpoint knows that this is the source that it was made for."""

    def close(self) -> None:
        """Close what is open, and remove temporary files."""
