from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from tests.support.servables.buffers import OneBuffer
from tests.support.servables.not_by_row import Computing
from tests.support.servables.servables import Doubling, Served
from tests.support.stages.environments import an_environment
from tests.support.stages.records import ROUTE, ManualClock, a_request
from topicserve.servables.core.errors import (
    DeadlineExceededError,
    InternalError,
    InvalidArgumentError,
)
from topicserve.servables.kinds.servable import Scope, Signature, TensorSpec
from topicserve.wire.dead_letter import Reason
from topicserve.wire.json_codec.body import Form
from topicserve.worker.config.schema import BatchingConfig
from topicserve.worker.stages.batch import Batcher
from topicserve.worker.stages.batch_sizer import BatchSizer
from topicserve.worker.stages.calls import calls
from topicserve.worker.stages.calls.calls import ServableUnavailableError
from topicserve.worker.stages.calls.feeds import build_feeds
from topicserve.worker.stages.predict import Predictor, PredictWatch
from topicserve.worker.stages.request import Batch, BatchPrediction, Request, Route

FLOAT32 = np.dtype(np.float32)
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


class World:
    """A predictor over one servable."""

    def __init__(self, servable: Any = None, **batching: Any) -> None:
        self.servable = servable or Doubling()
        self.served = Served({1: self.servable})
        self.registry = CollectorRegistry()
        self.clock = ManualClock()
        config = BatchingConfig(**{"check_batches": 0} | batching)
        environment = an_environment(self.registry, self.clock, batching=config)
        self.predictor = Predictor(environment, self.served, BatchSizer(1024, 0), now=lambda: NOW)

    def predict(self, *requests: Request, route: Route = ROUTE) -> BatchPrediction:
        """Predict one batch."""
        rows = sum(request.input.rows for request in requests)
        return self.predictor.predict(Batch(route, 0, list(requests), [], rows, 0.0))

    def predict_values(self, *values: float) -> BatchPrediction:
        """Predict one batch of lone rows."""
        return self.predict(*(a_request(value) for value in values))


def values_of(predicted: BatchPrediction) -> list[float]:
    """Return all predictions, in the order of the answers."""
    return [y for answers in predicted.answers for y in answers.outputs["y"].tolist()]


def test_answers_stay_as_they_were_when_a_servable_writes_into_one_buffer() -> None:
    """Through the other calls of a batch, those of the check, and the batches after it."""
    world = World(OneBuffer(), check_batches=2)
    batches = [[(float(n + start), float(n % 3)) for n in range(9)] for start in (1, 20, 300)]

    predicted = [
        world.predict(*(a_request({"x": x, "factor": factor}) for x, factor in batch))
        for batch in batches
    ]

    assert [sorted(values_of(one)) for one in predicted] == [
        sorted(x * factor for x, factor in batch) for batch in batches
    ]


def test_a_masked_array_is_refused() -> None:
    """What is under the mask would be published as a value."""
    servable = Computing(lambda x: np.ma.masked_array(x, mask=x > 1))

    (rejection,) = World(servable).predict_values(1.0).rejections

    assert "output 'y' is a masked array" in str(rejection.error)


def test_a_batch_takes_one_handle_and_names_its_version() -> None:
    """It is closed again when the batch is predicted."""
    world = World()
    world.served.versions[7] = Doubling()
    open_meanwhile: list[int] = []
    world.served.versions[7].before = lambda: open_meanwhile.append(world.served.open_handles)

    predicted = world.predict_values(1.0, 2.0, 3.0)

    assert (predicted.servable, predicted.version) == ("digits", 7)
    assert values_of(predicted) == [2.0, 4.0, 6.0]
    assert (world.served.handles, open_meanwhile, world.served.open_handles) == (1, [1], 0)


@pytest.mark.parametrize(
    "error", [InvalidArgumentError("bad"), InternalError("broken"), KeyError("a kind's own bug")]
)
@pytest.mark.parametrize("bad", [0, 1, 5, 63])
def test_one_bad_row_never_fails_its_batch(bad: int, error: Exception) -> None:
    """The batch is halved until the record at fault is alone."""
    world = World(Doubling(dislikes=float(bad), error=error))
    requests = [a_request(float(number)) for number in range(64)]

    predicted = world.predict(*requests)

    (rejection,) = predicted.rejections
    assert (rejection.polled, rejection.reason) == (requests[bad], Reason.PREDICT_FAILED)
    assert str(error) in str(rejection.error)
    assert values_of(predicted) == [2.0 * number for number in range(64) if number != bad]
    assert len(world.servable.sizes) <= 2 * 6 + 1
    code = getattr(error, "code", "UNKNOWN")
    labels = {"servable": "digits", "reason": code}
    assert world.registry.get_sample_value("topicserve_predict_failures_total", labels) == 7


@pytest.mark.parametrize(("error", "traces"), [(KeyError("a bug"), 1), (InternalError("no"), 0)])
def test_a_bug_of_a_kind_is_logged_with_its_traceback(
    error: Exception, traces: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Its dead letter has only the text; what a servable answers on purpose needs no more."""
    world = World(Doubling(dislikes=1.0, error=error))

    world.predict(*(a_request(float(number)) for number in range(4)))

    lines = [line for line in caplog.records if line.msg == "predict_raised"]
    of = {"servable": "digits", "version": 1, "signature": "serving_default"}
    assert [line.__dict__["fields"] for line in lines] == [of] * traces
    assert [bool(line.exc_info and line.exc_info[2]) for line in lines] == [True] * traces


@pytest.mark.parametrize("count", [1, 4])
def test_a_fault_of_the_worker_is_its_records_alone(
    count: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It would end each replica that reads the record; the others of its batch are answered."""
    world = World(Doubling())
    requests = [a_request(float(number)) for number in range(count)]

    def build_or_fail(some: Sequence[Request], signature: Signature) -> object:
        if requests[0] in some:
            raise IndexError("list index out of range")
        return build_feeds(some, signature)

    monkeypatch.setattr(calls, "build_feeds", build_or_fail)
    predicted = world.predict(*requests)

    (rejection,) = predicted.rejections
    assert (rejection.polled, rejection.reason) == (requests[0], Reason.PREDICT_FAILED)
    assert "a fault of the worker" in str(rejection.error)
    assert "list index out of range" in str(rejection.error)
    assert values_of(predicted) == [2.0 * number for number in range(1, count)]
    assert [line.msg for line in caplog.records if line.exc_info] == ["worker_fault"]
    labels = {"servable": "digits", "reason": "UNKNOWN"}
    assert world.registry.get_sample_value("topicserve_predict_failures_total", labels) == 1


@pytest.mark.parametrize(
    ("ended_by", "config", "seconds"),
    [
        ("rows", {"max_batch_size": 2}, 0),
        ("bytes", {"max_batch_bytes": 25}, 0),
        ("timeout", {"batch_timeout_seconds": 0.5}, 1),
        ("gathered", {}, 0),
    ],
)
def test_what_ended_a_batch_is_counted(ended_by: str, config: Any, seconds: float) -> None:
    """Whether larger batches would come of other limits can be seen."""
    world, batching = World(), BatchingConfig(**config)
    batcher = Batcher(batching, BatchSizer(batching.max_batch_size, 0), world.clock)
    batcher.add([a_request(1.0, size_bytes=10) for _ in range(3)], [], 0)
    world.clock.advance(seconds)

    batch = batcher.take()
    assert batch is not None
    world.predictor.predict(batch)

    for value in ("rows", "bytes", "timeout", "gathered"):
        found = world.registry.get_sample_value("topicserve_batches_total", {"ended_by": value})
        assert found == (1 if value == ended_by else 0)


class InPlace:
    """Doubles its input itself, then refuses what is over 100."""

    def __init__(self) -> None:
        specs = {"x": TensorSpec(FLOAT32, ()), "k": TensorSpec(FLOAT32, (), Scope.CALL)}
        self.signatures = {"serving_default": Signature(specs, specs)}

    def predict(self, inputs: Any, signature_name: str = "serving_default") -> Any:  # noqa: ARG002
        for column in inputs.values():
            column *= 2
        if (inputs["x"] > 100).any():
            raise InvalidArgumentError("too large")
        return inputs


@pytest.mark.parametrize("sizes", [(), (8,)])
@pytest.mark.parametrize("form", [Form.INSTANCE, Form.TENSORS])
def test_a_servable_may_change_its_inputs(form: Form, sizes: tuple[int, ...]) -> None:
    """Records are predicted again after an error, and by others later, as they were sent."""
    world = World(InPlace(), allowed_batch_sizes=sizes)
    as_sent = [{"x": float(x), "k": 3.0} for x in (1, 2, 60, 3)]
    contents: list[Any] = as_sent
    if form is Form.TENSORS:
        contents = [{"x": np.array([c["x"]], FLOAT32), "k": np.array(3, FLOAT32)} for c in as_sent]
    requests = [a_request(content, form=form) for content in contents]

    for batch in (requests, requests, requests[:1], requests[:1]):
        predicted = world.predict(*batch)
        found = [(o["x"].tolist(), float(o["k"])) for a in predicted.answers for o in [a.outputs]]
        assert [x for xs, _ in found for x in xs] == [2.0, 4.0, 6.0][: len(batch)]
        assert {k for _, k in found} == {6.0}
        assert [one.polled for one in predicted.rejections] == requests[2:3] * (len(batch) > 1)


def test_a_passing_fault_is_nobodys_fault() -> None:
    """The batch as a whole is to be tried again."""
    world = World()
    world.servable.failing = DeadlineExceededError("remote")

    with pytest.raises(ServableUnavailableError) as caught:
        world.predict_values(1.0, 2.0)

    assert caught.value.is_loaded
    assert world.served.open_handles == 0


def test_without_any_version_the_batch_waits() -> None:
    """For as long as it takes."""
    world = World()
    world.served.versions.clear()
    world.clock.advance(10**6)

    with pytest.raises(ServableUnavailableError) as caught:
        world.predict_values(1.0)
    assert not caught.value.is_loaded


@pytest.mark.parametrize(
    "route",
    [
        ROUTE,
        Route("digits", 7, None, "serving_default"),
        Route("digits", 7, None, "serving_default", is_canary=True),
    ],
)
def test_a_servable_that_was_removed_is_not_waited_for(route: Route) -> None:
    """Neither by records that came before; a worker that starts then rejects them too."""
    world = World()
    world.served.versions.clear()
    request = a_request(1.0)
    with pytest.raises(ServableUnavailableError):
        world.predict(request, route=route)

    world.served.is_removed = True
    predicted = world.predict(request, route=route)

    (rejection,) = predicted.rejections
    assert rejection.reason is Reason.UNKNOWN_SERVABLE
    assert "'digits', which is not served here; served: nothing" in str(rejection.error)


def test_a_version_that_is_coming_is_waited_for() -> None:
    """However long it takes to load."""
    world = World()
    world.served.coming.add(9)
    world.clock.advance(10**6)

    with pytest.raises(ServableUnavailableError):
        world.predict(a_request(), route=Route("digits", 9, None, "serving_default"))


@pytest.mark.parametrize(
    "route",
    [
        Route("digits", 9, None, "serving_default"),
        Route("digits", None, "nobody", "serving_default"),
    ],
)
def test_a_version_that_nobody_knows_is_waited_for_only_so_long(route: Route) -> None:
    """A record may come before the version that it asks for; a wrong number must not block all."""
    world = World()
    request = a_request(polled_at=world.clock())

    with pytest.raises(ServableUnavailableError):
        world.predict(request, route=route)
    world.clock.advance(30)
    predicted = world.predict(request, route=route)

    assert [r.reason for r in predicted.rejections] == [Reason.UNKNOWN_VERSION]


def test_an_unknown_signature_is_the_records_fault() -> None:
    """The message lists those there are."""
    predicted = World().predict(a_request(), route=Route("digits", None, None, "other"))

    (rejection,) = predicted.rejections
    assert rejection.reason is Reason.UNKNOWN_SIGNATURE
    assert "'other' is not one of: serving_default" in str(rejection.error)


class Composed(Doubling):
    """Derives its signatures from others, which may be away or wrong."""

    def __init__(self, problem: Exception) -> None:
        super().__init__()
        self.problem = problem

    @property
    def signatures(self) -> Any:
        raise self.problem


def test_signatures_that_are_not_to_be_had_now_are_waited_for() -> None:
    """A pipeline's come from its steps, which may still be loading."""
    with pytest.raises(ServableUnavailableError):
        World(Composed(DeadlineExceededError("a step is loading"))).predict_values(1.0)


def test_signatures_that_never_are_to_be_had_fail_the_records() -> None:
    """Not the worker."""
    predicted = World(Composed(InvalidArgumentError("steps do not fit"))).predict_values(1.0)

    assert [r.reason for r in predicted.rejections] == [Reason.PREDICT_FAILED]


def test_expired_deadlines_cost_no_model_time() -> None:
    """Even when nothing else is in the batch."""
    world = World()
    expired = a_request(1.0, deadline=NOW - timedelta(seconds=1))
    timely = a_request(2.0, deadline=NOW + timedelta(seconds=1))

    predicted = world.predict(expired, timely)
    alone = world.predict(expired)

    for outcome in (predicted, alone):
        assert [r.reason for r in outcome.rejections] == [Reason.DEADLINE_EXCEEDED]
    assert values_of(predicted) == [4.0]
    assert world.servable.sizes == [1]


def test_batches_are_padded_to_an_allowed_size() -> None:
    """And the padding's outputs are left out."""
    world = World(allowed_batch_sizes=(2, 4, 8))

    predicted = world.predict_values(1.0, 2.0, 3.0)

    assert world.servable.sizes == [4]
    assert values_of(predicted) == [2.0, 4.0, 6.0]


def test_outputs_that_are_not_of_the_batch_fail_it() -> None:
    """Rows could not be told apart; a kind that does that is at fault on every record."""

    class Short(Doubling):
        def predict(self, inputs: Any, signature_name: str = "serving_default") -> Any:
            return {"y": super().predict(inputs, signature_name)["y"][:0]}

    predicted = World(Short()).predict_values(1.0, 2.0)

    assert [r.reason for r in predicted.rejections] == [Reason.PREDICT_FAILED] * 2


def test_rows_refused_by_the_signature_are_told_from_the_others() -> None:
    """They never reach the model."""
    world = World()

    predicted = world.predict(a_request(1.0), a_request("text"), a_request(2.0))

    assert [r.reason for r in predicted.rejections] == [Reason.INVALID_INPUT]
    assert values_of(predicted) == [2.0, 4.0]
    assert len(predicted.answered()) == 2
    labels = {"servable": "digits"}
    assert world.registry.get_sample_value("topicserve_batch_rows_count", labels) == 1
    assert np.sum(world.servable.sizes) == 2


def test_no_prediction_runs_for_no_time() -> None:
    """However much time passes while it is looked for."""
    times = count(1.0)
    watch = PredictWatch(lambda: next(times))

    assert watch.longest() == (0.0, "")
    with watch.predicting(Batch(ROUTE, 0, [], [], 1, 0.0)):
        assert watch.longest() == (1.0, ROUTE.servable)
    assert watch.longest() == (0.0, "")
