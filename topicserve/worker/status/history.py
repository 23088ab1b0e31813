"""What the last ten minutes were like: a sample every few seconds, and no more than that."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from topicserve.worker.status.snapshot import Interval, Snapshot

SAMPLE_SECONDS = 5.0
_HISTORY_SECONDS = 600.0
_WINDOW_SECONDS = 60.0
"""Rates and shares are those of the last minute: of less they would jump, of more they lag."""


@dataclass(frozen=True, slots=True)
class Point:
    """One place in the drawings: rates of the time since the point before, lag at its end."""

    at: float
    """Unix time, seconds."""
    consumed_per_second: float
    results_per_second: float
    dead_letters_per_second: float
    lag_records: float
    lag_seconds: float
    p50_seconds: float | None
    """From publishing a record to its result's acknowledgement; None without results."""
    p99_seconds: float | None


class Lag(NamedTuple):
    """How far behind a worker was at a moment."""

    at: float
    """Seconds of a clock that never goes back."""
    records: float


class Take(Protocol):
    """Returns the numbers of now. Any thread may call it."""

    def __call__(self, *, forget: bool = False) -> Snapshot:
        """Return them; where it is said so, the next ones have the greatest values since these."""


class History:
    """Samples the numbers of a worker on a thread of its own. Any thread may read it.

    Memory is bounded: 120 points, and the whole snapshots of the last minute.
    """

    def __init__(self, take: Take, wall_clock: Callable[[], float]) -> None:
        self._take = take
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        # Guarded by `_lock`.
        self._points: deque[Point] = deque(maxlen=int(_HISTORY_SECONDS / SAMPLE_SECONDS))
        self._snapshots: deque[Snapshot] = deque(maxlen=int(_WINDOW_SECONDS / SAMPLE_SECONDS) + 1)
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Take the first sample, and go on with one every `SAMPLE_SECONDS`."""
        self.sample()
        self._thread = threading.Thread(target=self._run, name="status-history", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop sampling; what was sampled stays."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()

    def sample(self) -> None:
        """Take one sample now."""
        snapshot = self._take(forget=True)
        with self._lock:
            if self._snapshots:
                since = Interval(self._snapshots[-1], snapshot, snapshot.greatest)
                self._points.append(_point(since, self._wall_clock()))
            self._snapshots.append(snapshot)

    def points(self) -> list[Point]:
        """Return the points, the oldest first."""
        with self._lock:
            return list(self._points)

    def lags(self) -> list[Lag]:
        """Return those of the last minute's samples, the oldest first."""
        with self._lock:
            return [Lag(one.at, one.total("consumer_lag_records")) for one in self._snapshots]

    def last_minute(self) -> Interval:
        """Return the time from the oldest snapshot kept until now."""
        now = self._take()
        with self._lock:
            # What the first one saw was before.
            first, *others = self._snapshots or [now]
        return Interval(first, now, _greatest([*others, now]))

    def _run(self) -> None:
        while not self._closed.wait(SAMPLE_SECONDS):
            self.sample()


def _greatest(snapshots: Sequence[Snapshot]) -> dict[str, float]:
    """Return the greatest values of all these together."""
    return {
        name: max(snapshot.greatest[name] for snapshot in snapshots)
        for name in snapshots[-1].greatest
    }


def _point(since: Interval, at: float) -> Point:
    lags = since.after.by("consumer_lag_seconds", "partition").values()
    return Point(
        at=at,
        consumed_per_second=since.rate("records_consumed"),
        results_per_second=since.rate("results_published"),
        dead_letters_per_second=since.rate("dead_letters"),
        lag_records=since.after.total("consumer_lag_records"),
        lag_seconds=max(lags, default=0.0),
        p50_seconds=since.quantile("publish_to_result_seconds", 0.5),
        p99_seconds=since.quantile("publish_to_result_seconds", 0.99),
    )
