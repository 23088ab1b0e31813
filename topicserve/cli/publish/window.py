"""Rows that were read and are not settled yet, in order, and when the checkpoint is saved."""

import time
from collections import deque
from collections.abc import Callable

import msgspec

from topicserve.backends.errors import RecordRefusedError
from topicserve.cli.publish.checkpoint import Checkpoint, State
from topicserve.cli.publish.rows import Position, Row
from topicserve.producer.publish_future import PublishFuture

# How much is published twice at most when a command is killed and run again.
MAX_UNSAVED_ROWS = 10_000
SAVE_ROWS = 2_000
SAVE_SECONDS = 1.0

Tell = Callable[[str, Exception], None]
"""Hears of a record that was refused and is passed over: its place, and why."""


class Window:
    """Counts what is published, up to the first row that is not.

    A row that fails stops the count there: what is behind it is published again by the next
    command, which also tries this one again. Where refused records are to be skipped they count as
    dealt with.
    """

    def __init__(
        self,
        checkpoint: Checkpoint | None = None,
        *,
        on_refused: Tell | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_refused` hears of refused records; without it they are failures."""
        self._checkpoint = checkpoint
        self._on_refused = on_refused
        self._clock = clock
        self._rows: deque[tuple[Position, str, PublishFuture | None]] = deque()
        # What earlier commands have done.
        self._begun = checkpoint.state if checkpoint else State("", {}, "")
        self._position = self._begun.position
        self._saved_at = clock()
        self._unsaved = 0
        self._is_complete = False
        self.published = 0
        self.skipped = 0
        self.failure: tuple[str, BaseException] | None = None
        """The place of the first record that failed, and why."""

    def add(self, row: Row, future: PublishFuture | None) -> None:
        """Add a row that is being published, or, without a future, one that was skipped.

        Blocks while 10,000 rows are not settled and saved: so many may be sent twice after a kill.
        """
        self._rows.append((row.position, row.place, future))
        self._settle()
        while len(self._rows) + self._unsaved >= MAX_UNSAVED_ROWS and self.failure is None:
            self._wait_for_oldest()

    def finish(self, *, complete: bool) -> None:
        """Save what is settled by now; `complete` where the source has no more rows."""
        self._settle()
        self._is_complete |= complete and not self._rows and self.failure is None
        self._save()

    def _settle(self) -> None:
        while self._rows and self.failure is None:
            position, place, future = self._rows[0]
            if future is not None and not future.done():
                break
            if not self._count(place, future):
                break
            self._rows.popleft()
            self._position = position
            self._unsaved += 1
        is_due = self._clock() - self._saved_at >= SAVE_SECONDS
        if self._unsaved >= SAVE_ROWS or (self._unsaved and is_due):
            self._save()

    def _count(self, place: str, future: PublishFuture | None) -> bool:
        """Count a settled row; False for one that failed."""
        error = None if future is None else future.exception(0)
        if future is None:
            self.skipped += 1
        elif error is None:
            self.published += 1
        elif self._on_refused is not None and isinstance(error, RecordRefusedError):
            self._on_refused(place, error)
            self.skipped += 1
        else:
            self.failure = (place, error)
            return False
        return True

    def _wait_for_oldest(self) -> None:
        """Wait until the first row is settled, and save."""
        if self._rows:
            future = self._rows[0][2]
            if future is not None:
                future.exception()
            self._settle()
        self._save()

    def _save(self) -> None:
        self._unsaved = 0
        self._saved_at = self._clock()
        if self._checkpoint is None:
            return
        state = msgspec.structs.replace(
            self._begun,
            position=self._position,
            published=self._begun.published + self.published,
            skipped=self._begun.skipped + self.skipped,
            complete=self._is_complete,
        )
        self._checkpoint.save(state)
