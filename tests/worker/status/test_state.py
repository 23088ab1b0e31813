from collections.abc import Sequence

import pytest

from tests.support.stages.status import Numbers, SaidHealth
from topicserve.worker.status.history import Lag
from topicserve.worker.status.stages import limiting_stage, stage_loads
from topicserve.worker.status.state import Waits, WorkerState, judge

HEALTHY = SaidHealth()


def lags(*records: float, last_seconds: float = 5.0) -> list[Lag]:
    """Return these lags, five seconds apart but for the last one."""
    found = [Lag(5.0 * at, lag) for at, lag in enumerate(records)]
    now = 5.0 * (len(records) - 2) + last_seconds
    return [*found[:-1], Lag(now, records[-1])]


def state_of(
    numbers: Numbers,
    health: SaidHealth = HEALTHY,
    points: Sequence[Lag] = (),
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
    lag: int, behind: float, results: int, points: Sequence[Lag], word: str, sentence: str
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

    state = judge(HEALTHY, since, lags(950, 900), None, Waits(0, 0, seconds, "digits"))

    assert (state.word, state.limited_by) == ("falling_behind", "predict")
    assert state.sentence.endswith(f"; a prediction of 'digits' has not returned for {told}.")


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (lags(2_900, last_seconds=5.0)[-1:], "behind"),
        (lags(0, 0, 2_900, last_seconds=1.0), "behind"),
        (lags(0, 0, 2_900, 2_800, last_seconds=1.0), "behind"),
        (lags(0, 0, 2_900, 2_500, last_seconds=3.0), "catching_up"),
        (lags(0, 0, 2_900, 2_300, 1_700), "catching_up"),
        (lags(0, 0, 3_000, 1_000, 3_500, last_seconds=2.0), "behind"),
        (lags(100, 100), "behind"),
        (lags(100, 100, 100), "falling_behind"),
        (lags(200, 400, 600), "falling_behind"),
        (lags(0, 50, 100, 150, 200), "falling_behind"),
    ],
)
def test_a_burst_is_no_trend(found: Sequence[Lag], word: str) -> None:
    """What follows it is: a backlog that drains was called falling behind for ten seconds."""
    numbers = Numbers()
    numbers.behind(found[-1].records, 60.0)

    state = state_of(numbers, points=found, results=30)

    assert state.word == word
    if word == "behind":
        assert state.sentence.startswith("Working through a backlog: 3 records/s, ")


def test_what_drains_since_a_burst_is_reckoned_since_then() -> None:
    """Not from before it."""
    numbers = Numbers()
    numbers.behind(1_800, 60.0)

    state = state_of(numbers, points=lags(0, 0, 3_000, 2_400, 1_800), results=30)

    assert "about 15 s to go" in state.sentence


@pytest.mark.parametrize(
    ("waits", "sentence"),
    [
        (
            Waits(turn=11.4),
            "Held up: the polling thread has been held for 11 s"
            "; 40 records wait, the oldest for 12 s.",
        ),
        (
            Waits(broker=14.0),
            "Held up: no broker has answered for 14 s; 40 records wait, the oldest for 12 s.",
        ),
        (
            Waits(turn=24.0, broker=24.4),
            "Held up: no broker has answered for 24 s, and the polling thread has been held for"
            " 24 s; 40 records wait, the oldest for 12 s.",
        ),
    ],
)
def test_what_holds_the_worker_up_is_told_before_it_is_not_ready(
    waits: Waits, sentence: str
) -> None:
    """What the last minute was like says nothing about now."""
    numbers = Numbers()
    numbers.behind(40, 12.0)
    since = numbers.since(numbers.take(), 60.0)

    state = judge(HEALTHY, since, lags(0, 40), None, waits)

    assert (state.word, state.sentence) == ("held_up", sentence)
    idle = Numbers()
    since = idle.since(idle.take(), 60.0)
    assert judge(HEALTHY, since, [], None, waits).sentence == sentence.split(";")[0] + "."
    assert judge(HEALTHY, since, [], None, Waits(4.9, 4.9)).word == "idle"
