import pytest

from tests.support.stages.status import Numbers
from topicserve.worker.status.snapshot import Interval, Snapshot
from topicserve.worker.status.stages import StageLoad, limiting_stage, stage_loads


def test_each_stage_has_its_share_of_the_time_that_it_could_work() -> None:
    """Predicting of as many threads as predict, look-ups of one more."""
    numbers = Numbers()
    before = numbers.take()
    for _ in range(4):
        numbers.metrics.predict_seconds.labels("digits", "1").observe(2.5)
    numbers.predicted += 10.0
    numbers.metrics.metadata_seconds.observe(3.0)
    numbers.metrics.batch_wait_seconds.labels("digits").observe(0.25)
    numbers.metrics.commit_seconds.observe(0.5)
    since = numbers.since(before, 10.0)

    loads = {load.name: load for load in stage_loads(since, predict_threads=2)}

    assert list(loads) == [
        "poll and decode",
        "batch",
        "predict",
        "join metadata",
        "encode",
        "commit",
    ]
    assert (loads["predict"].busy_share, loads["predict"].mean_seconds) == (0.5, 2.5)
    assert loads["join metadata"].busy_share == pytest.approx(0.1)
    assert (loads["batch"].busy_share, loads["batch"].mean_seconds) == (None, 0.25)
    assert loads["commit"].busy_share == pytest.approx(0.05)


def test_threads_are_known_by_their_names() -> None:
    """The polling thread decodes, batch threads encode; the busiest of them counts."""
    before = Snapshot(0.0, {}, {"MainThread": 0.0, "topicserve-batch-0": 0.0})
    after = Snapshot(
        10.0, {}, {"MainThread": 6.0, "topicserve-batch-0": 2.0, "topicserve-batch-1": 4.0}
    )

    loads = {load.name: load for load in stage_loads(Interval(before, after), 1)}

    assert loads["poll and decode"].busy_share == 0.6
    assert loads["encode"].busy_share == 0.4


def test_the_busiest_stage_limits_unless_all_wait_more_than_they_work() -> None:
    """Half of the time is where waiting ends and working begins."""

    def load(name: str, share: float | None) -> StageLoad:
        return StageLoad(name, "", share, None)

    limiting = limiting_stage([load("a", 0.6), load("b", None), load("c", 0.9)])
    assert limiting is not None
    assert limiting.name == "c"
    assert limiting_stage([load("a", 0.4), load("b", None)]) is None


def test_fetching_is_a_stage_where_bodies_are_fetched() -> None:
    """Of so many threads' time, behind polling."""
    numbers = Numbers()
    before = numbers.take()
    for _ in range(4):
        numbers.metrics.dataref_fetch_seconds.observe(10.0)
    since = numbers.since(before, 10.0)

    loads = stage_loads(since, 1, fetch_threads=8)

    assert (loads[1].name, loads[1].busy_share, loads[1].mean_seconds) == ("fetch bodies", 0.5, 10)
