import threading
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.stages.status import Numbers
from topicserve.worker.status.snapshot import Interval, Snapshot

PREDICT = "predict_seconds"


def test_rates_are_of_the_time_between_two_snapshots() -> None:
    """A series that is new counts from 0, and one that another label has is left out."""
    numbers = Numbers()
    numbers.metrics.records_consumed.labels("in").inc(100)
    before = numbers.take()
    numbers.metrics.records_consumed.labels("in").inc(30)
    numbers.metrics.records_consumed.labels("new").inc(10)

    since = numbers.since(before, 4.0)

    assert since.seconds == 4.0
    assert since.rate("records_consumed") == 10.0
    assert since.rate("records_consumed", topic="new") == 2.5
    assert since.rate("results_published") == 0.0


def test_means_and_shares_are_those_of_the_time_between() -> None:
    """What a histogram saw before has no part in them."""
    numbers = Numbers()
    predict = numbers.metrics.predict_seconds.labels("digits", "1")
    predict.observe(60.0)
    before = numbers.take()
    assert numbers.since(before, 10.0).mean(PREDICT) is None
    for _ in range(4):
        predict.observe(0.5)

    since = numbers.since(before, 10.0)

    assert since.mean(PREDICT) == 0.5
    assert since.busy_share(PREDICT) == 0.2
    assert since.busy_share(PREDICT, threads=2) == 0.1


@given(
    st.lists(st.floats(0.0, 100.0), min_size=1, max_size=40),
    st.floats(0.01, 1.0),
)
def test_a_quantile_lies_in_the_bucket_of_the_value_that_it_stands_for(
    values: list[float], share: float
) -> None:
    """However the values lie: never below the bucket's lower bound, never above its upper one."""
    numbers = Numbers()
    before = numbers.take()
    for value in values:
        numbers.metrics.publish_to_result_seconds.observe(value)
    since = numbers.since(before, 1.0)

    found = since.quantile("publish_to_result_seconds", share)

    bounds = [0.0, *(bound for bound, _ in since.buckets("publish_to_result_seconds"))]
    rank = max(-(-len(values) * share // 1), 1)
    exact = sorted(values)[min(int(rank), len(values)) - 1]
    lower, upper = next(
        (lower, upper)
        for lower, upper in pairwise(bounds)
        if lower < exact <= upper or exact == 0.0
    )
    assert found is not None
    if upper == float("inf"):
        assert found == lower
    else:
        assert lower - 1e-9 <= found <= upper + 1e-9


@given(
    st.lists(st.floats(0.0, 2000.0), min_size=1, max_size=40),
    st.lists(st.floats(0.0, 2000.0), max_size=5),
    st.floats(0.01, 1.0),
)
def test_no_quantile_is_above_the_greatest_value_of_its_time(
    values: list[float], before: list[float], share: float
) -> None:
    """What was seen before has no part in it, and beyond the last bucket it is told as well."""
    numbers = Numbers()
    numbers.metrics.publish_to_result_seconds.observe_each(np.array(before))
    first = numbers.take(forget=True)
    for value in values[1:]:
        numbers.metrics.publish_to_result_seconds.observe(value)
    numbers.metrics.publish_to_result_seconds.observe_each(np.array(values[:1]))
    after = numbers.take()

    since = Interval(first, after, after.greatest)

    found = since.quantile("publish_to_result_seconds", share)
    assert since.greatest["publish_to_result_seconds"] == max(values)
    assert found is not None
    assert found <= max(values) or found == pytest.approx(max(values))
    bounds = [bound for bound, _ in since.buckets("publish_to_result_seconds")]
    if max(values) > bounds[-2]:
        assert since.quantile("publish_to_result_seconds", 1.0) == max(values)


def test_there_is_no_quantile_of_nothing() -> None:
    """Instead of 0, which would be a good one."""
    numbers = Numbers()

    assert numbers.since(numbers.take(), 1.0).quantile(PREDICT, 0.5) is None


@pytest.mark.parametrize(
    ("threads", "share"), [(("batch-",), 0.5), (("main",), 0.1), (("other",), None)]
)
def test_the_busiest_thread_of_a_kind_counts(threads: tuple[str, ...], share: float | None) -> None:
    """One that began meanwhile counts from 0."""
    before = Snapshot(0.0, {}, {"main": 5.0, "batch-0": 1.0})
    after = Snapshot(10.0, {}, {"main": 6.0, "batch-0": 2.0, "batch-1": 5.0})

    assert Interval(before, after).cpu_share(*threads) == share


def test_a_snapshot_tells_the_threads_of_this_process() -> None:
    """By their names, so that the page can tell polling from predicting."""
    assert threading.current_thread().name in Numbers().take().cpu_seconds
