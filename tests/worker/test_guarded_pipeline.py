"""A swap to a version that fails, in the middle of a run, under each guarantee."""

from collections import Counter

import pytest
from prometheus_client import CollectorRegistry

from tests.support.servables import Doubling, Served
from tests.worker.test_pipeline import PARTITIONS, World, records
from topicserve.servables.errors import InvalidArgumentError
from topicserve.servables.swap_guard import GuardLimits, SwapGuard
from topicserve.worker.batch_sizer import BatchSizer
from topicserve.worker.config import BatchingConfig, Guarantee
from topicserve.worker.metrics import WorkerMetrics
from topicserve.worker.predict import Predictor

RECORDS = 300


class Failing(Doubling):
    """Fails on everything."""

    def __init__(self) -> None:
        super().__init__()
        self.failing = InvalidArgumentError("a variable is not initialised")


class SwapWorld(World):
    """Version 1 answers the first records; version 2 is there after some polls."""

    def __init__(self, guarantee: Guarantee, new: Doubling) -> None:
        served = Served({1: Doubling()})
        super().__init__(records(RECORDS), guarantee, served)
        guard = SwapGuard(lambda _: GuardLimits())
        served.default = lambda: guard.choose(
            "digits", lambda: sorted(served.versions), lambda found: found[::-1]
        )
        self.guard, self.new = guard, new
        metrics = WorkerMetrics(CollectorRegistry())
        self.stages.predictor = Predictor(
            *(served, BatchingConfig(), 30.0, BatchSizer(7, 0)),
            *(metrics, lambda: 0.0),
            guard=guard,
        )

    def each_poll(self) -> None:
        if self.log.published:
            self.served.versions[2] = self.new

    def versions(self) -> Counter[bytes | None]:
        """Return how many results each version gave."""
        return Counter(dict(sent.headers)["ce_servableversion"] for sent in self.log.published)


@pytest.mark.parametrize("guarantee", list(Guarantee), ids=lambda one: one.value)
def test_a_failing_version_costs_no_record_its_result(guarantee: Guarantee) -> None:
    """Each has one, from version 1; offsets are committed to the end."""
    world = SwapWorld(guarantee, Failing())

    world.run()

    assert {sent.topic for sent in world.log.published} == {"out"}
    assert len(set(world.log.ids())) == len(world.log.published) == RECORDS
    assert world.versions() == {b"1": RECORDS}
    assert list(world.guard.rejections("digits")) == [2]
    assert world.log.committed == {
        one: 1 + max(range(one.partition, RECORDS, 3)) for one in PARTITIONS
    }
    assert world.served.open_handles == 0


@pytest.mark.parametrize("guarantee", list(Guarantee), ids=lambda one: one.value)
def test_a_version_that_works_takes_over(guarantee: Guarantee) -> None:
    """And answers the rest."""
    world = SwapWorld(guarantee, Doubling())

    world.run()

    versions = world.versions()
    assert versions[b"1"] + versions[b"2"] == RECORDS
    assert versions[b"2"] >= 200
    assert world.guard.kept("digits") == frozenset()
