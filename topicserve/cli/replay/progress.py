"""How far a replay is, on standard error: the offsets of the whole group, as they are committed.

`topicserve.cli.progress.CountProgress` counts the records of one process instead.
"""

import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

from rich.progress import BarColumn, TextColumn

from topicserve.cli.progress import ProgressLine, duration
from topicserve.cli.terminal import counted
from topicserve.worker.replay.progress import ReplayProgress

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
        self._before = before
        self._clock = clock
        self._seen = deque([(clock(), before.done_offsets)])
        self._moved_at = clock()
        self._line = ProgressLine((BarColumn(), TextColumn("{task.description}")), stream, clock)

    def show(self, progress: ReplayProgress) -> None:
        """Show how far the group is by now."""
        now, done = self._clock(), progress.done_offsets
        if done > self._seen[-1][1]:
            self._moved_at = now
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[1][0] >= RATE_SECONDS:
            self._seen.popleft()
        if self._line.is_due():
            self._line.show(self._text(progress), _part_done(progress))

    def _text(self, progress: ReplayProgress) -> str:
        done, total = progress.done_offsets, progress.total_offsets
        text = f"replayed {done:,} of {counted(total, 'offset')} ({_part_done(progress):.0%})"
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
        self._line.start(self._text(self._before), _part_done(self._before))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._line.stop()


def _part_done(progress: ReplayProgress) -> float:
    return progress.done_offsets / max(progress.total_offsets, 1)
