"""Readiness says what is missing, and why."""

import time
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.servables.servables import Doubling, Served
from tests.worker.test_pipeline import World, records
from topicserve.servables.core.errors import UnavailableError
from topicserve.servables.kinds.servable import Columns
from topicserve.worker.config.schema import Guarantee
from topicserve.worker.readiness import WorkerHealth


def stages_without_a_problem() -> Any:
    """Return as much of a joined worker's stages as is looked at; its consumer has had an error."""
    problem = "in-3: leader not available (for 5 s)"
    return SimpleNamespace(
        intake=SimpleNamespace(
            rebalance=SimpleNamespace(joined=True),
            flow=SimpleNamespace(consumer_problem=lambda: problem),
            fetcher=None,
        ),
        output=SimpleNamespace(large=None),
        inference=SimpleNamespace(joiner=SimpleNamespace(unavailable=None)),
        oversight=SimpleNamespace(
            breaker=SimpleNamespace(problems=()),
            stall_detector=SimpleNamespace(stalled_seconds=lambda: 0.0),
            unavailable=SimpleNamespace(problems=list),
            is_draining=False,
        ),
    )


def test_readiness_says_why_a_servable_has_no_version() -> None:
    """Where a reason is known."""
    stages = stages_without_a_problem()
    problems = {"broken": "version 1: a file is missing", "coming": ""}
    health = WorkerHealth(stages, lambda: list(problems), 60.0, problems.__getitem__)

    assert health.ready() == [
        "servable 'broken' has no available default version: version 1: a file is missing",
        "servable 'coming' has no available default version",
    ]


def test_an_open_breaker_comes_before_what_may_pass() -> None:
    """A restart is needed, whatever else is missing."""
    stages = stages_without_a_problem()
    stages.oversight.breaker.problems = ("the breaker is open", "the last of them")
    health = WorkerHealth(stages, lambda: ["broken"], 60.0)

    assert health.ready() == [
        "the breaker is open",
        "the last of them",
        "servable 'broken' has no available default version",
    ]


def test_a_worker_without_a_broker_is_alive_and_not_ready() -> None:
    """A restart would not help."""
    stages = stages_without_a_problem()
    silent = "no broker has answered since ..."
    health = WorkerHealth(stages, list, 60.0, broker_problem=lambda: silent)

    assert health.ready() == [
        silent,
        "the consumer's last error: in-3: leader not available (for 5 s)",
    ]
    assert health.live() == []


def test_a_worker_for_which_the_group_has_no_partition_is_ready() -> None:
    """It stands by; one that the group has not taken in is not ready."""
    stages = stages_without_a_problem()
    stages.intake.rebalance.joined = False
    health = WorkerHealth(stages, list, 60.0)

    stages.intake.flow.has_joined = False
    assert health.ready()[0] == "the consumer group has not been joined yet"
    stages.intake.flow.has_joined = True
    assert health.ready() == []


def test_a_store_of_bodies_that_does_not_answer_is_named() -> None:
    """A worker that fetches none has no such problem."""
    stages = stages_without_a_problem()
    health = WorkerHealth(stages, list, 60.0)

    assert health.ready() == []
    problem = "bodies under s3://bucket cannot be fetched: no route"
    stages.intake.fetcher = SimpleNamespace(threads=SimpleNamespace(problems=lambda: [problem]))
    assert health.ready() == [problem]
    stages.intake.fetcher = None
    stages.output.large = SimpleNamespace(unavailable="s3://bucket: no route")
    assert health.ready() == ["large results cannot be stored: s3://bucket: no route"]


class Away(Doubling):
    """Does not answer until it is back."""

    is_back = False

    def predict(self, inputs: Columns, signature_name: str = "serving_default") -> Columns:
        """Double, or raise."""
        if not self.is_back:
            raise UnavailableError("connection refused")
        return super().predict(inputs, signature_name)


@pytest.mark.parametrize("guarantee", list(Guarantee))
def test_a_servable_that_does_not_answer_is_named_and_no_reason_to_restart(
    guarantee: Guarantee,
) -> None:
    """However long: a restart brings no server back. The worker is ready when it is back."""
    servable, skipped_seconds = Away(), 0.0

    def clock() -> float:
        return time.monotonic() + skipped_seconds  # it never stands still: batches come back

    served = Served({1: servable})
    world = World(records(20), guarantee, served, clock=clock, predict_timeout_seconds=0)
    unavailable = world.stages.oversight.unavailable
    health = WorkerHealth(world.stages, list, 300.0)
    said: list[tuple[list[str], list[str]]] = []
    noted_at = 0.0

    def each_poll() -> None:
        nonlocal noted_at, skipped_seconds
        if unavailable.noted_at > noted_at and not servable.is_back:
            noted_at = unavailable.noted_at
            said.append((health.live(), health.ready()))
            skipped_seconds += 50
            servable.is_back = len(said) == 8

    world.each_poll = each_poll  # type: ignore[method-assign]

    world.run()

    problem = "servable 'digits' does not answer: UnavailableError: connection refused"
    assert said[-1] == ([], [problem])
    assert unavailable.problems() == []
    assert len(world.log.published) == 20
