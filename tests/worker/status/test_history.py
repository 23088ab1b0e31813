import pytest

from tests.support.stages.status import Numbers
from topicserve.worker.status.history import SAMPLE_SECONDS, History


def test_each_point_is_about_the_time_since_the_one_before() -> None:
    """Rates and latencies of that time alone, the lag at its end."""
    numbers = Numbers()
    wall = iter([100.0, 105.0])
    history = History(numbers.take, lambda: next(wall))
    history.sample()
    numbers.now = 5.0
    numbers.metrics.records_consumed.labels("in").inc(50)
    numbers.metrics.results_published.labels("digits", "1").inc(40)
    numbers.metrics.dead_letters.labels("invalid_input").inc(5)
    numbers.metrics.publish_to_result_seconds.observe(0.002, 40)
    numbers.behind(30, 1.5)
    numbers.behind(10, 4.0, partition=1)
    history.sample()
    numbers.now = 10.0
    history.sample()

    first, second = history.points()

    assert (first.at, second.at) == (100.0, 105.0)
    assert first.consumed_per_second == 10.0
    assert (first.results_per_second, first.dead_letters_per_second) == (8.0, 1.0)
    assert (first.lag_records, first.lag_seconds) == (40.0, 4.0)
    assert first.p50_seconds is not None
    assert 0.001 <= first.p50_seconds <= 0.0025
    assert (second.results_per_second, second.p99_seconds) == (0.0, None)


def test_ten_minutes_are_kept_and_shares_are_those_of_the_last_one() -> None:
    """However long a worker runs."""
    numbers = Numbers()
    history = History(numbers.take, lambda: numbers.now)
    for _ in range(500):
        history.sample()
        numbers.now += SAMPLE_SECONDS

    points = history.points()

    assert len(points) == 600 / SAMPLE_SECONDS
    assert points[-1].at == 499 * SAMPLE_SECONDS
    assert history.last_minute().seconds == 60.0 + SAMPLE_SECONDS


def test_the_greatest_value_is_that_of_the_last_minute() -> None:
    """Of the samples in it and of the time since the newest; each point has its own."""
    numbers = Numbers()
    history = History(numbers.take, lambda: numbers.now)
    seen = numbers.metrics.publish_to_result_seconds
    for value in (0.9, 0.3, 0.5, 0.1):
        seen.observe(value, 10)
        history.sample()
        numbers.now += SAMPLE_SECONDS
    seen.observe(0.2)

    since = history.last_minute()

    # What the first sample saw is before the last minute.
    assert since.greatest["publish_to_result_seconds"] == 0.5
    assert [point.p99_seconds for point in history.points()] == pytest.approx(
        [0.3, 0.5, 0.1], rel=0.01
    )
    for _ in range(20):
        history.sample()
    assert history.last_minute().greatest["publish_to_result_seconds"] == 0.0


def test_a_history_that_was_closed_keeps_what_it_has() -> None:
    """Its thread has ended by then."""
    numbers = Numbers()
    history = History(numbers.take, lambda: 0.0)
    history.start()
    history.sample()

    history.close()

    assert len(history.points()) >= 1
