"""Counts on standard error: a moving line on a terminal, a plain one now and then elsewhere.

`publish`, `results` and `dead-letters replay` show their records with it.
"""

import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

PLAIN_INTERVAL_SECONDS = 5.0


class CountProgress:
    """Shows how many records have been dealt with, and how many a second.

        with CountProgress("published", total=1000) as progress:
            producer.publish(record).add_done_callback(progress.count_future)

    Any thread may count: a lock guards the numbers and the line. The last line stays, but for an
    error before the first record, which says all there is to say.
    """

    def __init__(
        self,
        verb: str,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        total: int | None = None,
        fraction: Callable[[], float | None] = lambda: None,
    ) -> None:
        """`verb` is what was done with the records: "published"; `total` how many there are.

        Where that is not known, `fraction` may say which part of them was read.
        """
        self._verb = verb
        self._total = total
        self._fraction = fraction
        self._passed: float | None = None
        """Which part was read before the first record was dealt with: others have done it."""
        self._of = "" if total is None else f" of {total:,}"
        self._stream = stream or sys.stderr
        self._clock = clock
        self._start = self._told_at = clock()
        self._lock = threading.Lock()
        self._count = 0
        self._moving: Progress | None = None
        if self._stream.isatty():
            is_bounded = total is not None or fraction() is not None
            columns = (BarColumn(), TaskProgressColumn()) if is_bounded else (SpinnerColumn(),)
            self._moving = Progress(
                *columns,
                TextColumn("{task.description}"),
                TimeElapsedColumn(),
                console=Console(file=self._stream),
                transient=True,
            )
            self._task = self._moving.add_task(self._text(), total=1.0)

    @property
    def count(self) -> int:
        """Return how many were counted."""
        return self._count

    def advance(self, records: int = 1) -> None:
        """Count one record, or several."""
        with self._lock:
            if not self._count:
                self._passed = self._fraction()
            self._count += records
            now = self._clock()
            # A terminal may be told often; a log would only grow.
            if now - self._told_at >= (0.1 if self._moving else PLAIN_INTERVAL_SECONDS):
                self._told_at = now
                self._tell()

    def count_future(self, future: Future[Any]) -> None:
        """Count a record whose future has come out well; the delivery thread calls it."""
        if future.exception() is None:
            self.advance()

    def __enter__(self) -> Self:
        if self._moving is not None:
            self._moving.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._moving is not None:
            self._moving.stop()
        # Where nothing was done before an error, the error says all there is to say.
        if kind is None or self._count:
            print(self._text(), file=self._stream)

    def _tell(self) -> None:
        if self._moving is not None:
            done = self._done()
            self._moving.update(self._task, description=self._text(done), completed=done or 0.0)
        else:
            print(self._text(self._done()), file=self._stream, flush=True)

    def _done(self) -> float | None:
        """Return which part is done, where that is known."""
        if self._total:
            return self._count / self._total
        read = self._fraction()
        if read is None or self._passed is None:
            return read
        return (read - self._passed) / max(1.0 - self._passed, 1e-9)

    def _text(self, done: float | None = None) -> str:
        """Return what there is to say; while records are left, with the time that they take."""
        seconds = self._clock() - self._start
        rate = self._count / seconds if seconds > 0 else 0.0
        left = "" if not done else f", {duration(seconds / done - seconds)} left"
        return (
            f"{self._verb} {self._count:,}{self._of} records in {seconds:.1f} s "
            f"({rate:,.0f}/s{left})"
        )


def duration(seconds: float) -> str:
    """Return a time as h:mm:ss."""
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
