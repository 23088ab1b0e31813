"""Says in one sentence how a worker is doing.

It keeps nothing and looks at numbers and problems; `report.py` collects and `page.py` shows them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from topicserve.worker.http.pages import Health
from topicserve.worker.status.history import Point
from topicserve.worker.status.snapshot import Interval
from topicserve.worker.status.stages import StageLoad

# As far behind as a worker may be that keeps up: the age of what it works on.
_KEEPS_UP_SECONDS = 5.0
_TREND_POINTS = 6
_MINUTE_SECONDS = 60.0
HANGING_SECONDS = 5.0
"""A prediction that has taken so long is told of before it returns."""


@dataclass(frozen=True, slots=True)
class WorkerState:
    """How a worker is doing."""

    word: str
    """stalled, not_ready, idle, keeping_up, catching_up or falling_behind."""
    sentence: str
    problems: tuple[str, ...] = ()
    """What /livez and /readyz say."""
    limited_by: str | None = None
    """The stage that holds the worker up, while it is behind."""


def judge(
    health: Health,
    since: Interval,
    points: Sequence[Point],
    limiting: StageLoad | None,
    longest: tuple[float, str] = (0.0, ""),
) -> WorkerState:
    """Return the state: what is wrong comes first, then what the last minute was like.

    `longest` is the prediction that has run for the longest time by now, and its servable: what the
    lag did before it says nothing.
    """
    stalled, missing = tuple(health.live()), tuple(health.ready())
    if stalled:
        return WorkerState("stalled", _sentence("Stalled", stalled[0]), (*stalled, *missing))
    if missing:
        return WorkerState("not_ready", _sentence("Not ready", missing[0]), missing)
    consumed = since.rate("records_consumed")
    answered = since.rate("results_published") + since.rate("dead_letters")
    lag = since.after.total("consumer_lag_records")
    behind = max(since.after.by("consumer_lag_seconds", "partition").values(), default=0)
    if not lag and not consumed and not answered:
        return WorkerState("idle", f"Idle: no record has come {_so_far(since)}, and none waits.")
    speed = f"{_count(answered)} records/s"
    if behind <= _KEEPS_UP_SECONDS:
        return WorkerState("keeping_up", f"Keeping up: {speed}, {behind:.1f} s behind.")
    why = "" if limiting is None else f"; {limiting.name} is what holds it up"
    limited_by = None if limiting is None else limiting.name
    running_seconds, servable = longest
    is_hanging = running_seconds > HANGING_SECONDS
    if is_hanging:
        why = f"; a prediction of {servable!r} has not returned for {_duration(running_seconds)}"
        limited_by = "predict"
    shrinks_by = -_trend(points)
    waiting = f"{_count(lag)} records wait, the oldest for {_duration(behind)}"
    if shrinks_by > 0 and not is_hanging:
        left = _duration(lag / shrinks_by)
        sentence = f"Catching up: {speed}, {waiting}; about {left} to go{why}."
        return WorkerState("catching_up", sentence, (), limited_by)
    sentence = f"Falling behind: {speed}, {waiting}{why}."
    return WorkerState("falling_behind", sentence, (), limited_by)


def _so_far(since: Interval) -> str:
    """Return the time that the rates are of: a worker that has just begun knows of no minute."""
    if since.seconds < _MINUTE_SECONDS:
        return f"since the start, {_duration(since.seconds)} ago"
    return "for a minute"


def _trend(points: Sequence[Point]) -> float:
    """Return by how many records a second the lag has grown lately; below 0 where it shrinks."""
    recent = points[-_TREND_POINTS:]
    if len(recent) < 2:
        return 0.0
    first, last = recent[0], recent[-1]
    return (last.lag_records - first.lag_records) / max(last.at - first.at, 1e-9)


def _count(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 or number == int(number) else f"{number:.1f}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"


def _sentence(state: str, problem: str) -> str:
    """Return one sentence, however the problem's text ends."""
    return f"{state}: {problem.rstrip('.')}."
