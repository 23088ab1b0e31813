"""Says in one sentence how a worker is doing.

It keeps nothing and looks at numbers and problems; `report.py` collects and `page.py` shows them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from topicserve.worker.http.pages import Health
from topicserve.worker.status.history import Lag
from topicserve.worker.status.snapshot import Interval
from topicserve.worker.status.stages import StageLoad

# As far behind as a worker may be that keeps up: the age of what it works on.
_KEEPS_UP_SECONDS = 5.0
_TREND_SECONDS = 30.0
# So long a lag is watched before it is said to shrink or grow, or to stay as it is.
_TOLD_SECONDS, _FLAT_SECONDS = 2.0, 10.0
_MINUTE_SECONDS = 60.0
HANGING_SECONDS = 5.0
"""A prediction, a turn of the polling thread or a broker's answer that takes so long is told of."""


@dataclass(frozen=True, slots=True)
class WorkerState:
    """How a worker is doing."""

    word: str
    """stalled, not_ready, held_up, idle, keeping_up, behind, catching_up or falling_behind."""
    sentence: str
    problems: tuple[str, ...] = ()
    """What /livez and /readyz say."""
    limited_by: str | None = None
    """The stage that holds the worker up, while it is behind."""


@dataclass(frozen=True, slots=True)
class Waits:
    """What a worker waits for now, each in seconds."""

    turn: float = 0.0
    """Since the polling thread came round."""
    broker: float = 0.0
    """Since a broker answered; 0 while all that is asked is answered."""
    prediction: float = 0.0
    """Since the prediction began that has run for the longest time."""
    servable: str = ""
    """What that prediction is of."""


def judge(
    health: Health,
    since: Interval,
    lags: Sequence[Lag],
    limiting: StageLoad | None,
    waits: Waits = Waits(),
) -> WorkerState:
    """Return the state: what is wrong comes first, then what the last minute was like.

    `lags` are those of late, the last one that of now. What they were before a prediction that has
    not returned says nothing.
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
    number = "1 record waits" if lag == 1 else f"{_count(lag)} records wait"
    waiting = f"{number}, the oldest for {_duration(behind)}"
    if held := _held(waits):
        rest = f"; {waiting}" if lag else ""
        return WorkerState("held_up", f"Held up: {held}{rest}.")
    if not lag and not consumed and not answered:
        return WorkerState("idle", f"Idle: no record has come {_so_far(since)}, and none waits.")
    speed = f"{_count(answered)} records/s"
    if behind <= _KEEPS_UP_SECONDS:
        return WorkerState("keeping_up", f"Keeping up: {speed}, {behind:.1f} s behind.")
    why = "" if limiting is None else f"; {limiting.name} is what holds it up"
    limited_by = None if limiting is None else limiting.name
    growth = _growth(lags)
    if waits.prediction > HANGING_SECONDS:
        lasts = _duration(waits.prediction)
        why = f"; a prediction of {waits.servable!r} has not returned for {lasts}"
        limited_by, growth = "predict", 0.0
    if growth is None:
        sentence = f"Working through a backlog: {speed}, {waiting}{why}."
        return WorkerState("behind", sentence, (), limited_by)
    if growth < 0:
        left = _duration(lag / -growth)
        sentence = f"Catching up: {speed}, {waiting}; about {left} to go{why}."
        return WorkerState("catching_up", sentence, (), limited_by)
    sentence = f"Falling behind: {speed}, {waiting}{why}."
    return WorkerState("falling_behind", sentence, (), limited_by)


def _held(waits: Waits) -> str:
    """Return what holds up the thread that polls, if anything does."""
    found = []
    if waits.broker > HANGING_SECONDS:
        found.append(f"no broker has answered for {_duration(waits.broker)}")
    if waits.turn > HANGING_SECONDS:
        found.append(f"the polling thread has been held for {_duration(waits.turn)}")
    return ", and ".join(found)


def _so_far(since: Interval) -> str:
    """Return the time that the rates are of: a worker that has just begun knows of no minute."""
    if since.seconds < _MINUTE_SECONDS:
        return f"since the start, {_duration(since.seconds)} ago"
    return "for a minute"


def _growth(lags: Sequence[Lag]) -> float | None:
    """Return by how many records a second the lag has grown lately; below 0 where it shrinks.

    None where that is not known yet: what a burst brought says nothing about what follows.
    """
    if not lags:
        return None
    now = first = lags[-1]
    for before in reversed(lags[:-1]):
        came_at_once = first.records - before.records > now.records / 2
        if came_at_once or now.at - before.at > _TREND_SECONDS:
            break
        first = before
    seconds, grown = now.at - first.at, now.records - first.records
    if seconds < (_TOLD_SECONDS if grown else _FLAT_SECONDS):
        return None
    return grown / seconds


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
