from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.stages.environments import an_environment
from tests.support.stages.records import a_request
from topicserve.wire.dead_letter import Reason
from topicserve.worker.config.dataref import DatarefConfig
from topicserve.worker.stages.fetch.time_limits import TimeLimits
from topicserve.worker.stages.fetch.waiting import Waiting
from topicserve.worker.stages.request import Rejection


def time_limits_of(wait_seconds: float, timeout_seconds: float = 10.0) -> TimeLimits:
    """Return what says how long records wait."""
    dataref = DatarefConfig(wait_seconds=wait_seconds, timeout_seconds=timeout_seconds)
    return TimeLimits(an_environment(dataref=dataref))


def fetch(time_limits: TimeLimits, waiting: Waiting, seconds: float, now: float) -> float:
    """Let all tries fail after so many seconds, or at their limit; return when that has ended."""
    while time_limits.ended(waiting, now) is None:
        started = now
        now += min(time_limits.try_seconds(waiting, now), seconds)
        next_try = time_limits.after_failure(waiting, started, now, "away", is_broken=False)
        if isinstance(next_try, Rejection):
            assert next_try.reason is Reason.DATAREF_UNAVAILABLE
            assert str(next_try.error) == f"not fetched in {waiting.failures} tries: away"
            break
        now += next_try
    return now


@given(st.floats(0, 1000), st.floats(0.01, 100), st.floats(0, 200))
def test_tries_end_with_the_time_for_them(
    wait_seconds: float, timeout_seconds: float, seconds: float
) -> None:
    """However long they take, but for one whole try; and hardly before."""
    time_limits = time_limits_of(wait_seconds, timeout_seconds)

    taken = fetch(time_limits, Waiting(a_request(), 0, 0), seconds, 100.0) - 100.0

    assert taken <= max(wait_seconds, min(seconds, timeout_seconds)) + 0.001
    assert taken >= wait_seconds - 0.06


def test_the_last_try_is_cut_short() -> None:
    """A store that hangs costs its time, and not a try more."""
    waiting = Waiting(a_request(), 0, 0)

    assert fetch(time_limits_of(25.0), waiting, 1000.0, 0.0) == pytest.approx(25.0)
    assert waiting.failures == 3


def test_no_try_goes_on_behind_the_deadline() -> None:
    """The record has expired then, for that reason and no other."""
    environment = an_environment(dataref=DatarefConfig())
    now = datetime.fromtimestamp(environment.wall_clock(), UTC)
    time_limits = TimeLimits(environment)
    soon, past = (
        Waiting(a_request(deadline=now + timedelta(seconds=one)), 0, 0) for one in (4, -1)
    )

    assert time_limits.try_seconds(soon, 0.0) == pytest.approx(4.0)
    assert time_limits.is_short(4.0)
    assert time_limits.ended(soon, 0.0) is None
    rejection = time_limits.ended(past, 0.0)
    assert rejection is not None
    assert rejection.reason is Reason.DEADLINE_EXCEEDED
