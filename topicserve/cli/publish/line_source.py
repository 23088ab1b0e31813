"""JSON Lines: a record a line. A line that is wrong is that row's error and ends nothing."""

from collections.abc import Iterator

from topicserve.cli.errors import UsageError
from topicserve.cli.publish.files import Input
from topicserve.cli.publish.json_lines import numbered_lines, read_record
from topicserve.cli.publish.rows import Position, Row
from topicserve.producer.record import Record
from topicserve.wire.errors import InvalidRecordError


class LineSource:
    """Reads one line after another; a position is the number of lines before it."""

    skipped_rows = 0

    def __init__(self, opened: Input, *, metadata_elsewhere: bool = False) -> None:
        self.name = opened.name
        self._input = opened
        self._metadata_elsewhere = metadata_elsewhere
        self.fraction = opened.fraction
        self.identity = opened.identity
        self.close = opened.close

    def rows(self, start: Position | None) -> Iterator[Row]:
        """See RowSource."""
        skipped = int(start or 0)
        number = 0
        try:
            for number, line in numbered_lines(self._input.text()):
                if number > skipped:
                    yield Row(number, f"{self.name}:{number}", self._record(line))
        except OSError as error:
            place = f"{self.name}: behind line {number:,}"
            raise UsageError(f"{place}: {error.strerror or error}") from error

    def left(self, start: Position | None) -> int | None:  # noqa: ARG002
        """Return None: lines are not counted before they are read."""
        return None

    def _record(self, line: bytes) -> Record | InvalidRecordError:
        try:
            return read_record(line, metadata_elsewhere=self._metadata_elsewhere)
        except InvalidRecordError as error:
            return error
