from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from tests.support.servables.servables import Doubling, Served
from tests.support.stages.environments import an_environment
from tests.support.stages.logged import Logged
from tests.support.stages.records import ROUTE, ManualClock, a_request
from topicserve.servables.core.errors import DeadlineExceededError, InvalidArgumentError
from topicserve.servables.server.swap_guard import GuardLimits, SwapGuard
from topicserve.wire.result import Metadata, MetadataStatus
from topicserve.worker.config.schema import BatchingConfig
from topicserve.worker.health.guarding import GuardedResults
from topicserve.worker.stages.batch_sizer import BatchSizer
from topicserve.worker.stages.calls.calls import ServableUnavailableError
from topicserve.worker.stages.predict import Predictor
from topicserve.worker.stages.publish import Encoder
from topicserve.worker.stages.request import Batch, BatchPrediction, Route

CANARY = Route("digits", 2, None, "serving_default", is_canary=True)
LABELLED = Route("digits", None, "next", "serving_default", is_canary=True)


class Picky(Doubling):
    """Doubles numbers, but none of those that it is told to fail on."""

    def __init__(self, *fails: float) -> None:
        super().__init__()
        self.fails = fails

    def predict(self, inputs: Any, signature_name: str = "serving_default") -> Any:
        if any(number in inputs["x"] for number in self.fails):
            raise self.error
        return super().predict(inputs, signature_name)


class World:
    """A predictor; the default is the highest version, by the guard's choice."""

    def __init__(self, versions: dict[int, Any], **limits: Any) -> None:
        self.guard = SwapGuard(lambda _: GuardLimits(**limits))
        self.served = Served(versions)
        self.served.default = lambda: self.guard.choose(
            "digits", lambda: sorted(self.served.versions), lambda found: found[::-1]
        )
        self.registry = CollectorRegistry()
        batching = BatchingConfig(check_batches=0)
        environment = an_environment(self.registry, ManualClock(), batching=batching)
        self.results = GuardedResults(self.guard, environment.metrics)
        self.predictor = Predictor(environment, self.served, BatchSizer(1024, 0), guard=self.guard)

    def predict(self, *values: float, route: Route = ROUTE) -> BatchPrediction:
        requests = [a_request(value) for value in values]
        predicted = self.predictor.predict(Batch(route, 0, requests, [], len(requests), 0.0))
        found = [Metadata(MetadataStatus.MISSING)] * len(predicted.answered())
        rejections = list(predicted.rejections)
        self.results.note(Encoder("out", "dead", "w").encode(predicted, found, rejections))
        return predicted

    def metric(self, name: str) -> float:
        name = f"topicserve_{name}_total"
        return self.registry.get_sample_value(name, {"servable": "digits"}) or 0


def swapped(old: Any, new: Any, **limits: Any) -> World:
    """Return a world in which version 1 has answered and version 2 is there now."""
    world = World({1: old}, **limits)
    world.predict(0.0)
    world.served.versions[2] = new
    return world


def by_version(predicted: BatchPrediction) -> dict[int, list[float]]:
    """Return the answers of each version."""
    found: dict[int, list[float]] = {}
    for answers in predicted.answers:
        found.setdefault(predicted.version_of(answers), []).extend(answers.outputs["y"].tolist())
    return found


def test_a_canary_answers_its_records() -> None:
    """And the default the others."""
    world = World({1: Doubling(), 2: Doubling(), 3: Doubling()})

    assert world.predict(1.0, route=CANARY).version == 2
    assert world.predict(1.0).version == 3
    assert world.metric("canary_fallbacks") == 0


@pytest.mark.parametrize("route", [CANARY, LABELLED])
def test_a_canary_that_is_not_available_falls_back_to_the_default(
    route: Route, caplog: pytest.LogCaptureFixture, logged: Logged
) -> None:
    """At once, counted, and said once for each change."""
    caplog.set_level("INFO", "topicserve")
    world = World({1: Doubling()})
    world.served.labels["next"] = 2 if route.label is None else 9
    fell_back = [world.predict(1.0, 2.0, route=route) for _ in range(3)]
    world.served.labels["next"] = 2
    world.served.versions[2] = Doubling()
    found = [world.predict(1.0, route=route) for _ in range(2)]
    del world.served.versions[2]
    again = world.predict(1.0, route=route)

    assert [one.version for one in (*fell_back, *found, again)] == [1, 1, 1, 2, 2, 1]
    assert not any(one.rejections for one in fell_back)
    assert world.metric("canary_fallbacks") == 7
    said = [one.message for one in caplog.records if one.message.startswith("canary")]
    assert said == ["canary_unavailable", "canary_available", "canary_unavailable"]
    missing = [2 if route.label is None else 9, 2]
    assert logged("canary_unavailable") == [
        {"servable": "digits", "problem": f"digits has no version {one}"} for one in missing
    ]
    assert logged("canary_available") == [{"servable": "digits"}]


def test_what_a_canary_fails_on_the_default_answers(caplog: pytest.LogCaptureFixture) -> None:
    """Counted and logged; what both fail on keeps the canary's error."""
    world = World({1: Picky(4.0), 2: Picky(3.0, 4.0)})
    world.served.default = lambda: 1
    world.served.versions[2].error = InvalidArgumentError("the canary's")

    predicted = world.predict(1.0, 3.0, 4.0, route=CANARY)

    assert by_version(predicted) == {2: [2.0], 1: [6.0]}
    assert [str(one.error) for one in predicted.rejections] == [
        "InvalidArgumentError: the canary's"
    ]
    assert world.metric("canary_fallbacks") == 1
    (event,) = [one for one in caplog.records if one.msg == "canary_failed"]
    assert event.__dict__["fields"] == {
        "servable": "digits",
        "version": 2,
        "records": 1,
        "problem": "InvalidArgumentError: the canary's",
    }


def test_a_version_that_a_record_names_answers_it_alone() -> None:
    """Not so where the record names the version itself, nor where the canary is the default."""
    world = World({1: Doubling(), 2: Picky(3.0)})
    world.served.default = lambda: 1
    named = world.predict(3.0, route=Route("digits", 2, None, "serving_default"))
    world.served.default = lambda: 2
    same = world.predict(3.0, route=CANARY)

    assert (len(named.rejections), len(same.rejections)) == (1, 1)
    assert world.metric("canary_fallbacks") == 0


def test_without_a_default_a_canary_that_is_missing_waits_as_others_do() -> None:
    """It is no record's fault, and nothing is counted before there is an answer."""
    world = World({})

    for _ in range(3):
        with pytest.raises(ServableUnavailableError):
            world.predict(1.0, route=CANARY)

    assert world.metric("canary_fallbacks") == 0


def test_what_a_new_version_fails_on_the_one_before_answers() -> None:
    """Each record once, and each result names the version that gave it."""
    world = swapped(Doubling(), Picky(3.0))

    predicted = world.predict(1.0, 3.0, 2.0)

    assert by_version(predicted) == {2: [2.0, 4.0], 1: [6.0]}
    assert not predicted.rejections
    assert world.metric("guarded_records") == 1
    assert world.served.open_handles == 0


def test_a_new_version_that_fails_on_too_much_is_rejected() -> None:
    """From then on the version before is the default, and not one record was given up."""
    world = swapped(Doubling(), Doubling(error=None, dislikes=1.0))

    before = world.predict(*[1.0] * 20)
    after = world.predict(1.0, 2.0)

    assert (by_version(before), by_version(after)) == ({1: [2.0] * 20}, {1: [2.0, 4.0]})
    assert not before.rejections
    assert after.version == 1
    assert list(world.guard.rejections("digits")) == [2]


def test_a_batch_that_took_its_handle_before_the_verdict_is_saved_too() -> None:
    """Another thread's batch may decide meanwhile."""
    world = swapped(Doubling(), Picky(1.0))
    new = world.served.versions[2]
    new.fails = ()

    def meanwhile() -> None:
        new.before, new.fails = lambda: None, (1.0,)
        world.predict(*[1.0] * 20)
        raise new.error

    new.before = meanwhile
    predicted = world.predict(1.0)

    assert list(world.guard.rejections("digits")) == [2]
    assert by_version(predicted) == {1: [2.0]}
    assert not predicted.rejections


def test_records_on_which_both_fail_keep_the_new_versions_error_and_never_count() -> None:
    """A flood of bad records rejects no version."""
    world = swapped(Picky(3.0), Picky(3.0))
    world.served.versions[2].error = ValueError("the new one's")

    bad = world.predict(*[3.0] * 50)
    good = world.predict(1.0)

    assert len(bad.rejections) == 50
    assert "the new one's" in str(bad.rejections[0].error)
    assert good.version == 2
    assert world.metric("guarded_records") == 0


class Short(Doubling):
    """Gives too few rows."""

    def predict(self, inputs: Any, signature_name: str = "serving_default") -> Any:
        return {"y": super().predict(inputs, signature_name)["y"][:0]}


class Renamed(Doubling):
    """Knows no signature of that name."""

    @property
    def signatures(self) -> Any:
        return {"other": super().signatures["serving_default"]}


@pytest.mark.parametrize("new", [Short(), Renamed()])
def test_garbage_and_missing_signatures_count_as_failures(new: Any) -> None:
    """Whatever keeps a version from answering what the one before answers."""
    world = swapped(Doubling(), new)

    predicted = world.predict(*[1.0] * 10)

    assert by_version(predicted) == {1: [2.0] * 10}
    assert list(world.guard.rejections("digits")) == [2]


def test_a_passing_fault_counts_nothing() -> None:
    """The batch is tried again, by the new version."""
    world = swapped(Doubling(), Doubling())
    world.served.versions[2].failing = DeadlineExceededError("a remote one")

    for _ in range(30):
        with pytest.raises(ServableUnavailableError):
            world.predict(1.0)
    world.served.versions[2].failing = None

    assert by_version(world.predict(1.0)) == {2: [2.0]}


def test_records_that_name_the_new_version_get_it_and_never_count() -> None:
    """By number or by label, also once it is rejected."""
    world = swapped(Doubling(), Picky(3.0))
    world.served.labels["next"] = 2
    routes = [
        Route("digits", 2, None, "serving_default"),
        Route("digits", None, "next", "serving_default"),
    ]

    named = [world.predict(*[3.0] * 20, route=route) for route in routes]
    world.predict(*[3.0] * 20)
    rejected = [world.predict(1.0, route=route) for route in routes]

    assert [len(one.rejections) for one in named] == [20, 20]
    assert [one.version for one in rejected] == [2, 2]
    assert world.metric("guarded_records") == 20


def test_an_accepted_version_answers_for_itself() -> None:
    """Its predecessor is not asked any more, loaded or not."""
    world = swapped(Doubling(), Picky(3.0), records=10)
    world.predict(*[1.0] * 10)

    predicted = world.predict(3.0)

    assert len(predicted.rejections) == 1
    assert world.guard.kept("digits") == frozenset()


@given(
    st.lists(st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.0]), min_size=1, max_size=8), max_size=12),
    st.sampled_from([(), (1.0,), (1.0, 2.0), (0.0, 1.0, 2.0, 3.0)]),
    st.sampled_from([(), (2.0,), (3.0,)]),
)
def test_whatever_fails_each_record_is_answered_once_or_fails_on_both(
    batches: Sequence[Sequence[float]], new_fails: tuple[float, ...], old_fails: tuple[float, ...]
) -> None:
    """Until the swap is decided for the new version; no handle stays open."""
    world = swapped(Picky(*old_fails), Picky(*new_fails), records=10**6)
    for values in batches:
        predicted = world.predict(*values)

        failed = [value for value in values if value in new_fails and value in old_fails]
        if predicted.version == 1:
            failed = [value for value in values if value in old_fails]
        answered = sorted(y for ys in by_version(predicted).values() for y in ys)
        assert len(predicted.rejections) == len(failed)
        assert len(answered) == len(values) - len(failed)
    assert world.served.open_handles == 0
