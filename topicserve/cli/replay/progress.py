"""How far a replay is, on standard error: a bar on a terminal, a line now and then elsewhere.

It shows offsets of the whole group, as they are committed. `topicserve.cli.progress` counts the
records of one process instead.
"""

import sys
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from topicserve.cli.progress import duration
from topicserve.worker.replay.progress import ReplayProgress

PLAIN_INTERVAL_SECONDS = 5.0
# The rate is that of the last seconds: models load first, and brokers go away.
RATE_SECONDS = 15.0
_WAITING_SECONDS = 10.0


class ReplayScreen:
    """Shows the progress of all replicas together. One thread calls `show`."""

    def __init__(
        self,
        before: ReplayProgress,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream or sys.stderr
        self._clock = clock
        self._seen = deque([(clock(), before.done_offsets)])
        self._moved_at = self._told_at = clock()
        self._bar: Progress | None = None
        if self._stream.isatty():
            columns = (BarColumn(), TextColumn("{task.description}"))
            self._bar = Progress(*columns, console=Console(file=self._stream), transient=True)
            self._task = self._bar.add_task(self._text(before), total=before.total_offsets)
            self._bar.update(self._task, completed=before.done_offsets)

    def show(self, progress: ReplayProgress) -> None:
        """Show how far the group is by now."""
        now, done = self._clock(), progress.done_offsets
        if done > self._seen[-1][1]:
            self._moved_at = now
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[1][0] >= RATE_SECONDS:
            self._seen.popleft()
        if self._bar is not None:
            self._bar.update(self._task, completed=done, description=self._text(progress))
        elif now - self._told_at >= PLAIN_INTERVAL_SECONDS:
            self._told_at = now
            print(self._text(progress), file=self._stream, flush=True)

    def _text(self, progress: ReplayProgress) -> str:
        done, total = progress.done_offsets, progress.total_offsets
        text = f"replayed {done:,} of {total:,} offsets ({done / max(total, 1):.0%})"
        (first_at, first), (last_at, last) = self._seen[0], self._seen[-1]
        rate = (last - first) / (last_at - first_at) if last_at > first_at else 0.0
        if rate > 0:
            return f"{text}, {rate:,.0f}/s, {duration((total - done) / rate)} left"
        still = self._clock() - self._moved_at
        if still < _WAITING_SECONDS:
            return text
        behind = ", ".join(str(one.partition) for one in sorted(progress.left))
        return f"{text}, waiting for {still:.0f} s (partitions {behind})"

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
