from collections.abc import Sequence

import pytest

from tests.support.stages.status import Numbers, SaidHealth
from topicserve.worker.status.history import Point
from topicserve.worker.status.stages import limiting_stage, stage_loads
from topicserve.worker.status.state import WorkerState, judge

HEALTHY = SaidHealth()


def lags(*records: float) -> list[Point]:
    """Return points five seconds apart with these lags."""
    return [Point(5.0 * at, 0, 0, 0, lag, 60.0, None, None) for at, lag in enumerate(records)]


def state_of(
    numbers: Numbers,
    health: SaidHealth = HEALTHY,
    points: Sequence[Point] = (),
    results: int = 0,
    predict_seconds: float = 0.0,
) -> WorkerState:
    """Return the state after ten seconds in which this happened."""
    before = numbers.take()
    numbers.metrics.records_consumed.labels("in").inc(results)
    numbers.metrics.results_published.labels("digits", "1").inc(results)
    numbers.predicted += predict_seconds
    since = numbers.since(before, 10.0)
    return judge(health, since, points, limiting_stage(stage_loads(since, 1)))


def test_what_is_wrong_comes_before_what_is_slow() -> None:
    """First what /livez says, then what /readyz says."""
    numbers = Numbers()
    numbers.behind(1_000, 600.0)

    stalled = state_of(numbers, SaidHealth(["nothing moves"], ["no group"]))
    missing = state_of(numbers, SaidHealth([], ["no group.", "no store"]))

    assert (stalled.word, stalled.sentence) == ("stalled", "Stalled: nothing moves.")
    assert stalled.problems == ("nothing moves", "no group")
    assert (missing.word, missing.sentence) == ("not_ready", "Not ready: no group.")
    assert missing.problems == ("no group.", "no store")


@pytest.mark.parametrize(
    ("lag", "behind", "results", "points", "word", "sentence"),
    [
        (
            *(0, 0.0, 0, [], "idle"),
            "Idle: no record has come since the start, 10 s ago, and none waits.",
        ),
        (7, 0.44, 12_400, [], "keeping_up", "Keeping up: 1,240 records/s, 0.4 s behind."),
        (
            *(600, 100.0, 100, lags(900, 800, 600)),
            "catching_up",
            "Catching up: 10 records/s, 600 records wait, the oldest for 2 min; "
            "about 20 s to go; predict is what holds it up.",
        ),
        (
            *(900, 8_000.0, 3, lags(600, 900)),
            "falling_behind",
            "Falling behind: 0.3 records/s, 900 records wait, the oldest for 2 h; "
            "predict is what holds it up.",
        ),
    ],
)
def test_the_state_is_told_in_one_sentence(
    lag: int, behind: float, results: int, points: Sequence[Point], word: str, sentence: str
) -> None:
    """With how fast, how far behind, for how long yet, and what holds it up."""
    numbers = Numbers()
    numbers.behind(lag, behind)

    state = state_of(numbers, points=points, results=results, predict_seconds=9.0)

    assert (state.word, state.sentence) == (word, sentence)
    assert state.limited_by == (None if word in ("idle", "keeping_up") else "predict")


@pytest.mark.parametrize(
    ("seconds", "so_far"), [(7.0, "since the start, 7 s ago"), (60.0, "for a minute")]
)
def test_a_worker_that_has_just_begun_knows_of_no_minute(seconds: float, so_far: str) -> None:
    """It says for how long nothing has come."""
    numbers = Numbers()

    state = judge(HEALTHY, numbers.since(numbers.take(), seconds), [], None)

    assert state.sentence == f"Idle: no record has come {so_far}, and none waits."


def test_where_no_stage_is_busy_none_is_blamed() -> None:
    """Then brokers or a store are waited for."""
    numbers = Numbers()
    numbers.behind(900, 60.0)

    state = state_of(numbers, points=lags(600, 900), results=30, predict_seconds=0.1)

    assert state.limited_by is None
    assert state.sentence.endswith("the oldest for 60 s.")


@pytest.mark.parametrize(("seconds", "told"), [(5.4, "5 s"), (66.0, "66 s"), (600.0, "10 min")])
def test_a_prediction_that_does_not_return_is_told_of_while_it_lasts(
    seconds: float, told: str
) -> None:
    """With how long it has run; what the lag did before says nothing."""
    numbers = Numbers()
    numbers.behind(900, 60.0)
    since = numbers.since(numbers.take(), 10.0)

    state = judge(HEALTHY, since, lags(950, 900), None, (seconds, "digits"))

    assert (state.word, state.limited_by) == ("falling_behind", "predict")
    assert state.sentence.endswith(f"; a prediction of 'digits' has not returned for {told}.")
