"""Counts on standard error: a moving line on a terminal, a plain one now and then elsewhere."""

import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TextIO

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

PLAIN_INTERVAL_SECONDS = 5.0


class CountProgress:
    """Shows how many records have been dealt with, and how many a second; any thread counts."""

    def __init__(
        self,
        verb: str,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        total: int | None = None,
    ) -> None:
        """`verb` is what was done with the records: "published"; `total` how many there are."""
        self._verb = verb
        self._of = "" if total is None else f" of {total:,}"
        self._stream = stream or sys.stderr
        self._clock = clock
        self._start = self._told_at = clock()
        self._lock = threading.Lock()
        self._count = 0
        self._moving: Progress | None = None
        if self._stream.isatty():
            self._moving = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                TimeElapsedColumn(),
                console=Console(file=self._stream),
                transient=True,
            )
            self._task = self._moving.add_task(self._text())

    @property
    def count(self) -> int:
        """Return how many were counted."""
        return self._count

    def advance(self, records: int = 1) -> None:
        """Count one record, or several."""
        with self._lock:
            self._count += records
            now = self._clock()
            # A terminal may be told often; a log would only grow.
            if now - self._told_at >= (0.1 if self._moving else PLAIN_INTERVAL_SECONDS):
                self._told_at = now
                self._tell()

    def count_future(self, future: Future[Any]) -> None:
        """Count a record whose future has come out well."""
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
            self._moving.update(self._task, description=self._text())
        else:
            print(self._text(), file=self._stream, flush=True)

    def _text(self) -> str:
        seconds = self._clock() - self._start
        rate = self._count / seconds if seconds > 0 else 0.0
        return f"{self._verb} {self._count:,}{self._of} records in {seconds:.1f} s ({rate:,.0f}/s)"
