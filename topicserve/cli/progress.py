"""Progress on standard error: a moving line on a terminal, a plain one now and then elsewhere.

`publish`, `results` and `dead-letters replay` count their records with it; `replay` shows the
offsets of its whole group on the same kind of line.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

from topicserve.cli.terminal import counted
from topicserve.printable import printable

PLAIN_INTERVAL_SECONDS = 5.0
_COUNT_INTERVAL_SECONDS = 0.1
_TICK_SECONDS = 0.5


class ProgressLine:
    """One line that is replaced in place on a terminal, and printed every five seconds elsewhere.

    Nothing is locked: who shares it does that. It moves between `start` and `stop`, and is gone
    from the terminal after that.
    """

    def __init__(
        self,
        columns: Iterable[ProgressColumn],
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        interval_seconds: float = 0.0,
    ) -> None:
        """`columns` are made for a terminal only, which is told once in `interval_seconds`."""
        self.stream = stream or sys.stderr
        self._clock = clock
        self._told_at = clock()
        self._interval_seconds = PLAIN_INTERVAL_SECONDS
        self._moving: Progress | None = None
        if self.stream.isatty():
            self._interval_seconds = interval_seconds
            self._moving = Progress(*columns, console=Console(file=self.stream), transient=True)
            self._task = self._moving.add_task("", total=1.0)

    def is_due(self) -> bool:
        """Return whether it is time to `show` something; until then what there is costs nothing."""
        return self._clock() - self._told_at >= self._interval_seconds

    def show(self, text: str, done: float | None = None) -> None:
        """Show a text, and which part is done, where that is known."""
        self._told_at = self._clock()
        if self._moving is not None:
            self._moving.update(self._task, description=text, completed=done or 0.0)
        else:
            print(text, file=self.stream, flush=True)

    def start(self, text: str, done: float | None = None) -> None:
        """Let it move, on a terminal, from this text on."""
        if self._moving is not None:
            self.show(text, done)
            self._moving.start()

    def stop(self) -> None:
        """Take it off the terminal."""
        if self._moving is not None:
            self._moving.stop()


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
        waiting_for: Callable[[], str] | None = None,
    ) -> None:
        """`verb` is what was done with the records: "published"; `total` how many there are.

        Where that is not known, `fraction` may say which part of them was read. `waiting_for` says
        what is waited for, empty for nothing: it is asked and shown while no record is counted.
        """
        self._waiting_for = waiting_for
        self._ticked = (0, clock())
        """How many were counted when that last changed, and when it was."""
        self._ended = threading.Event()
        self._ticker: threading.Thread | None = None
        self._verb = verb
        self._total = total
        self._fraction = fraction
        self._passed: float | None = None
        """Which part was read before the first record was dealt with: others have done it."""
        self._clock = clock
        self._start = clock()
        self._lock = threading.Lock()
        self._count = 0
        self._line = ProgressLine(
            self._columns(), stream, clock, interval_seconds=_COUNT_INTERVAL_SECONDS
        )

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
            if self._line.is_due():
                done = self._done()
                self._line.show(self._text(done), done)

    def tick(self) -> None:
        """Show what is waited for, where no record was counted for five seconds."""
        with self._lock:
            now = self._clock()
            if self._count != self._ticked[0]:
                self._ticked = (self._count, now)
            if now - self._ticked[1] < PLAIN_INTERVAL_SECONDS or not self._line.is_due():
                return
            if self._waiting_for is not None and (what := self._waiting_for()):
                self._line.show(f"{self._text()}; waiting: {printable(what)}", self._done())

    def count_future(self, future: Future[Any]) -> None:
        """Count a record whose future has come out well; the delivery thread calls it."""
        if future.exception() is None:
            self.advance()

    def __enter__(self) -> Self:
        self._line.start(self._text())
        if self._waiting_for is not None:
            self._ticker = threading.Thread(target=self._tick, name="progress", daemon=True)
            self._ticker.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        if self._ticker is not None:
            self._ticker.join()
        self._line.stop()
        # Where nothing was done before an error, the error says all there is to say.
        if kind is None or self._count:
            print(self._text(), file=self._line.stream)

    def _tick(self) -> None:
        # Without a standard error that takes more, the command itself goes on.
        with suppress(OSError, ValueError):
            while not self._ended.wait(_TICK_SECONDS):
                self.tick()

    def _columns(self) -> Iterator[ProgressColumn]:
        if self._total is not None or self._fraction() is not None:
            yield from (BarColumn(), TaskProgressColumn())
        else:
            yield SpinnerColumn()
        yield from (TextColumn("{task.description}"), TimeElapsedColumn())

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
        records = counted(self._count, "record")
        if self._total is not None:
            records = f"{self._count:,} of {counted(self._total, 'record')}"
        return f"{self._verb} {records} in {seconds:.1f} s ({rate:,.0f}/s{left})"


def duration(seconds: float) -> str:
    """Return a time as h:mm:ss."""
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
