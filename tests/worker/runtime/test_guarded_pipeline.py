"""A swap to a version that fails, in the middle of a run, under each guarantee."""

import functools
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from tests.support.servables.servables import DOUBLE, Doubling, Served
from tests.support.stages.deliveries import limit_of
from tests.worker.test_pipeline import PARTITIONS, World, records
from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.kinds.pipeline.definition import PipelineDefinition
from topicserve.servables.kinds.pipeline.pipeline import PipelineServable
from topicserve.servables.kinds.servable import Scope, TensorSpec
from topicserve.servables.server.swap_guard import GuardLimits, SwapGuard
from topicserve.worker.config.schema import Guarantee

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
        guard = SwapGuard(lambda _: GuardLimits())
        super().__init__(records(RECORDS), guarantee, served, guard=guard)
        served.default = lambda: guard.choose(
            "digits", lambda: sorted(served.versions), lambda found: found[::-1]
        )
        self.guard, self.new = guard, new

    def each_poll(self) -> None:
        if self.log.published:
            self.served.versions[2] = self.new


def versions_of(world: World) -> Counter[bytes | None]:
    """Return how many results each version gave."""
    return Counter(dict(sent.headers)["ce_servableversion"] for sent in world.log.published)


@pytest.mark.parametrize("guarantee", list(Guarantee), ids=lambda one: one.value)
def test_a_failing_version_costs_no_record_its_result(guarantee: Guarantee) -> None:
    """Each has one, from version 1; offsets are committed to the end."""
    world = SwapWorld(guarantee, Failing())

    world.run()

    assert {sent.topic for sent in world.log.published} == {"out"}
    assert len(set(world.log.ids())) == len(world.log.published) == RECORDS
    assert versions_of(world) == {b"1": RECORDS}
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

    versions = versions_of(world)
    assert versions[b"1"] + versions[b"2"] == RECORDS
    assert versions[b"2"] >= 200
    assert world.guard.kept("digits") == frozenset()


class Answering(Doubling):
    """Answers with whatever is given for each row."""

    def __init__(self, column: Callable[[Any], Any], dtype: Any = np.float32) -> None:
        super().__init__()
        self._column = column
        spec = TensorSpec(np.dtype(dtype), None, Scope.UNKNOWN)
        self._signature = replace(DOUBLE, outputs={"y": spec}, rows_are_independent=True)

    @property
    def signatures(self) -> Any:
        return {"serving_default": self._signature}

    def predict(self, inputs: Any, signature_name: str = "serving_default") -> Any:  # noqa: ARG002
        return {"y": self._column(inputs["x"])}


class Unwritable(str):
    """Looks like text until a result is written."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        raise RuntimeError(f"cannot be written as {encoding} ({errors})")


UNFIT: dict[str, Callable[[Any], Any]] = {
    "none": lambda _: None,
    "dtype": lambda x: x.astype("M8[s]"),
    "complex": lambda x: x.astype(np.complex64),
    "unwritable": lambda x: np.array([Unwritable("a")] * len(x), object),
    "too_large": lambda x: np.ones((len(x), 4000), np.float32),
    "absurd": lambda x: np.broadcast_to(np.float32(0), (len(x), 2**31)),
}


@pytest.mark.parametrize("guarantee", list(Guarantee), ids=lambda one: one.value)
@pytest.mark.parametrize("unfit", UNFIT)
def test_a_version_whose_outputs_cannot_be_published_is_rejected(
    guarantee: Guarantee, unfit: str
) -> None:
    """Whether the worker sees it, or the broker; no record becomes a dead letter."""
    world = SwapWorld(guarantee, Answering(UNFIT[unfit]))
    world.producer.fail_send = limit_of(3000)

    world.run()

    assert {sent.topic for sent in world.log.published} == {"out"}
    assert len(set(world.log.ids())) == len(world.log.published) == RECORDS
    assert versions_of(world) == {b"1": RECORDS}
    assert list(world.guard.rejections("digits")) == [2]
    assert world.stages.intake.tracker.outcome_bytes == 0
    assert world.served.open_handles == 0


def test_not_a_number_is_an_answer() -> None:
    """It is written as null."""
    world = SwapWorld(Guarantee.AT_LEAST_ONCE, Answering(lambda x: x * np.nan))

    world.run()

    assert versions_of(world)[b"2"] >= 200
    assert world.guard.rejections("digits") == {}


def test_what_both_versions_write_too_large_rejects_none() -> None:
    """It becomes a dead letter, as without a swap."""
    world = SwapWorld(Guarantee.AT_LEAST_ONCE, Answering(UNFIT["too_large"]))
    world.served.versions[1] = Answering(UNFIT["too_large"])
    world.producer.fail_send = limit_of(3000)

    world.run()

    assert {sent.topic for sent in world.log.published} == {"dead"}
    assert len(world.log.published) == RECORDS
    assert world.guard.rejections("digits") == {}


class Steps:
    """What a pipeline takes its steps from: the latest is never one that was rejected."""

    def __init__(self, guard: SwapGuard, **steps: Any) -> None:
        self.guard = guard
        self.served = {name: Served({1: servable}, name) for name, servable in steps.items()}
        for name, served in self.served.items():
            served.default = functools.partial(self._latest, name)

    def _latest(self, name: str) -> int | None:
        versions = self.served[name].versions
        return self.guard.choose(name, lambda: sorted(versions), lambda found: found[::-1])

    def get_servable_handle(self, request: Any) -> Any:
        return self.served[request.name].get_servable_handle(request)

    def get_servable_handles(self, requests: Any) -> Any:
        return [self.get_servable_handle(request) for request in requests]


class PipelineWorld(World):
    """Serves a pipeline of two steps; new versions of steps come after some polls."""

    def __init__(self, guarantee: Guarantee, **new: Any) -> None:
        guard = SwapGuard(lambda _: GuardLimits())
        self.steps = Steps(guard, first=Doubling(), second=Doubling())
        pipeline = PipelineServable(
            msgspec.convert(
                {
                    "steps": [
                        {"name": "a", "servable": "first", "inputs": {"x": "x"}},
                        {"name": "b", "servable": "second", "inputs": {"x": "a.y"}},
                    ],
                    "outputs": {"y": "b.y"},
                },
                PipelineDefinition,
            ),
            self.steps,
        )
        super().__init__(records(RECORDS), guarantee, Served({1: pipeline}), guard=guard)
        self.guard, self.new = guard, new

    def each_poll(self) -> None:
        if self.log.published:
            for name, servable in self.new.items():
                self.steps.served[name].versions[2] = servable


@pytest.mark.parametrize("guarantee", list(Guarantee), ids=lambda one: one.value)
@pytest.mark.parametrize(
    ("new", "rejected"),
    [
        ({"first": Failing}, ["first"]),
        ({"second": Failing}, ["second"]),
        ({"first": Doubling, "second": Failing}, ["second"]),
        ({"first": Failing, "second": Failing}, ["first", "second"]),
        ({"second": lambda: Answering(UNFIT["too_large"])}, ["second"]),
        ({"second": lambda: Answering(UNFIT["unwritable"])}, ["second"]),
        ({"first": Doubling, "second": Doubling}, []),
    ],
)
def test_a_new_version_of_a_step_that_fails_is_rejected(
    guarantee: Guarantee, new: dict[str, Callable[[], Any]], rejected: list[str]
) -> None:
    """The pipeline goes on with the one before, and each record has its result."""
    world = PipelineWorld(guarantee, **{name: make() for name, make in new.items()})
    world.producer.fail_send = limit_of(3000)

    world.run()

    assert {sent.topic for sent in world.log.published} == {"out"}
    assert len(set(world.log.ids())) == len(world.log.published) == RECORDS
    assert versions_of(world) == {b"1": RECORDS}
    found = [name for name in ("first", "second") if world.guard.rejections(name)]
    assert found == rejected
    accepted = [name for name in new if name not in rejected]
    assert all(world.guard.kept(name) == frozenset() for name in accepted)
    for name in rejected:
        assert (world.metric("guarded_records_total", servable=name) or 0) > 0
    assert all(served.open_handles == 0 for served in world.steps.served.values())
