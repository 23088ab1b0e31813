"""Small differences between a record alone and in company: rounding, or what the others did."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.servables.kind_context import FunctionServable
from tests.support.stages.outcomes import a_predictor, outcomes, outcomes_of
from tests.support.stages.records import a_request
from topicserve.servables.core.errors import InvalidArgumentError, UnavailableError
from topicserve.servables.kinds.servable import Columns, Scope, Signature, TensorSpec
from topicserve.wire.json_codec.body import Form
from topicserve.worker.stages.calls import lone_answers
from topicserve.worker.stages.calls.feeds import build_feeds
from topicserve.worker.stages.calls.second_look import second_look
from topicserve.worker.stages.calls.shared_call import SharedCall, UndecidedError
from topicserve.worker.stages.predict import Predictor
from topicserve.worker.stages.request import Request

Array = NDArray[Any]
FLOAT32 = np.dtype(np.float32)
SMALL = [0.5, 0.25, -0.5, 1.0, -1.5, 0.75, 2.0]


def servable_of(
    compute: Callable[[Array], Array], gives: Any = FLOAT32, takes: TensorSpec | None = None
) -> FunctionServable:
    """Return a servable of one function from rows to rows."""
    takes = takes or TensorSpec(FLOAT32, ())
    signature = Signature({"x": takes}, {"y": TensorSpec(np.dtype(gives), None)})
    return FunctionServable(signature, lambda inputs: {"y": compute(inputs["x"]).astype(gives)})


def is_apart(predictor: Predictor) -> bool:
    """Return whether records were found to depend on one another."""
    (entry,) = predictor._calls._company._entries.values()
    return entry.company.is_apart


def near_mean(x: Array) -> Array:
    """Move by the mean of the call, by less than a thousandth."""
    return np.asarray(100 + (x - x.mean(dtype=np.float32)) * np.float32(0.01))


def row_ids(x: Array) -> Array:
    """Return a time and the row's number: the relative difference is below 1e-9."""
    return 1.7e9 + np.arange(len(x), dtype=np.float64)


def row_fractions(x: Array) -> Array:
    """Return numbers of rows in small steps."""
    return 100 + np.arange(len(x)) * np.float32(0.001)


def live_batch_norm(x: Array) -> Array:
    """Mix a little of the call's variance into each row."""
    return np.asarray(10 + x + x.var() * np.float32(1e-3))


DEPENDENT = {
    "mean": (near_mean, np.float32),
    "mean of float64": (lambda x: 100 + (x - x.mean()).astype(np.float64) * 1e-7, np.float64),
    "mean of half": (lambda x: near_mean(x) / 100 + (x - x.mean()) * 0.01, np.float16),
    "row ids": (row_ids, np.float64),
    "row fractions": (row_fractions, np.float32),
    "batch norm": (live_batch_norm, np.float32),
}


@pytest.mark.parametrize("sizes", [(), (16,)], ids=["unpadded", "padded"])
@pytest.mark.parametrize("name", DEPENDENT)
def test_a_small_effect_of_company_is_seen(name: str, sizes: tuple[int, ...]) -> None:
    """Of other records, and of the place among them: each is answered as alone."""
    compute, gives = DEPENDENT[name]
    servable = servable_of(compute, gives)
    requests = [a_request(value) for value in SMALL]
    predictor = a_predictor(servable, sizes, check_batches=1)

    found = outcomes_of(predictor, requests)

    assert is_apart(predictor)
    for request in requests:
        record_id = request.input.record_id
        assert found[record_id] == outcomes(servable, [request])[record_id]


def test_records_of_several_rows_are_looked_at_too() -> None:
    """Their rows together take the place of the others."""
    requests = [
        a_request(SMALL[:2], form=Form.INSTANCES, rows=2),
        a_request(SMALL[2:5], form=Form.INPUTS, rows=3),
        a_request(SMALL[5]),
    ]
    for compute in (near_mean, row_fractions):
        predictor = a_predictor(servable_of(compute), check_batches=1)

        outcomes_of(predictor, requests)

        assert is_apart(predictor)


RANDOM = np.random.default_rng(7)


def weights(*shape: int) -> Array:
    """Return weights of a layer."""
    return np.asarray(RANDOM.normal(size=shape) / np.sqrt(shape[0]), np.float32)


FIRST, SECOND = weights(64, 256), weights(256, 10)


def softmax(x: Array) -> Array:
    """Share 1 among the classes of each row."""
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def network(dtype: Any, confidence: float) -> Callable[[Array], Array]:
    """Return a network of two layers that computes in a dtype."""
    first, second = FIRST.astype(dtype), SECOND.astype(dtype)
    return lambda x: np.asarray(
        softmax(confidence * (np.maximum(x.astype(dtype) @ first, 0) @ second))
    )


def summed_backwards_alone(x: Array) -> Array:
    """Add up in another order where there is one row: rounding, as other kernels do it."""
    sums = np.cumsum(x[:, ::-1] if len(x) == 1 else x, axis=1, dtype=np.float32)
    return np.asarray(sums[:, -1])


NETWORKS = {
    "float32": (network(np.float32, 1), np.float32),
    "confident": (network(np.float32, 60), np.float32),
    "float64": (network(np.float64, 1), np.float64),
    "float32 as float64": (
        lambda x: network(np.float32, 5)(x).astype(np.float64) * 100,
        np.float64,
    ),
    "half": (network(np.float16, 1), np.float16),
    "other order": (summed_backwards_alone, np.float32),
}


@pytest.mark.parametrize("is_forced", [False, True], ids=["as it is", "every record"])
@pytest.mark.parametrize("sizes", [(), (8, 64)], ids=["unpadded", "padded"])
@pytest.mark.parametrize("name", NETWORKS)
def test_rounding_keeps_no_records_apart(
    name: str, sizes: tuple[int, ...], is_forced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In batches of all sizes, also where every record is looked at a second time."""
    compute, gives = NETWORKS[name]
    predictor = a_predictor(
        servable_of(compute, gives, TensorSpec(FLOAT32, (64,))), sizes, check_batches=8
    )
    if is_forced:
        monkeypatch.setattr(lone_answers, "_doubtful", lambda shared, *_: list(shared))
    for count in (2, 3, 7, 64, 33, 5):
        rows = RANDOM.normal(size=(count, 64)).astype(np.float32)
        outcomes_of(predictor, [a_request(row.tolist()) for row in rows])

        assert not is_apart(predictor)


def counting(found: list[int], noise: float = 0.0) -> FunctionServable:
    """Return a servable that notes the sizes of its calls, and has noise of chance."""

    def compute(x: Array) -> Array:
        found.append(len(x))
        return np.asarray(x + 1 + RANDOM.normal(size=len(x)) * noise, np.float32)

    return servable_of(compute)


def test_an_output_of_chance_keeps_no_records_apart() -> None:
    """It differs in each call, with or without company, by little or by much."""
    for noise in (1e-5, 10.0):
        predictor = a_predictor(counting([], noise), check_batches=2)

        for _ in range(3):
            outcomes_of(predictor, [a_request(value) for value in SMALL])

        assert not is_apart(predictor)


def test_the_second_look_is_taken_only_where_there_is_a_difference() -> None:
    """Equal answers cost the calls of four records alone, and later batches cost nothing."""
    sizes: list[int] = []
    predictor = a_predictor(counting(sizes), check_batches=1)

    for _ in range(2):
        outcomes_of(predictor, [a_request(value) for value in SMALL])

    assert sizes == [7, 1, 1, 1, 1, 7]


def a_shared_call(compute: Callable[[Array], Array]) -> SharedCall:
    """Return a call of the small numbers, answered."""
    servable = servable_of(compute)
    (feed,), _ = build_feeds([a_request(v) for v in SMALL], servable.signatures["serving_default"])
    outputs = feed.predict(servable, "serving_default", feed.rows)
    return SharedCall(
        servable, "serving_default", feed, feed.rows, feed.answers(outputs, feed.rows)
    )


def test_calls_that_fail_tell_nothing() -> None:
    """A model may take no equal rows; where the fault passes, another batch is looked at."""

    def fails(error: Exception) -> Callable[[Array], Array]:
        def compute(x: Array) -> Array:
            if len(x) > 1 and len(set(x.tolist())) == 1:
                raise error
            return x

        return compute

    scales = {"y": np.ones(())}
    always, now = (
        a_shared_call(fails(error))
        for error in (InvalidArgumentError("equal"), UnavailableError("later"))
    )

    assert second_look(always, 0, ["y"], scales) is None
    with pytest.raises(UndecidedError):
        second_look(now, 0, ["y"], scales)


def scores(inputs: Columns) -> Columns:
    """Score each query against all documents of the call."""
    queries, documents = (np.asarray(inputs[name], np.float32) for name in "qd")
    return {"s": np.asarray(queries @ documents.T, np.float32)}


def test_an_output_whose_width_depends_on_the_call_is_compared(caplog: Any) -> None:
    """A record's own shape alone is another one than in company."""
    row, score = TensorSpec(FLOAT32, (2,)), TensorSpec(FLOAT32, (None,))
    servable = FunctionServable(Signature({"q": row, "d": row}, {"s": score}), scores)
    predictor = a_predictor(servable, check_batches=1)

    outcomes_of(predictor, [documents(1), documents(2)])

    assert [record.message for record in caplog.records] == ["records_kept_apart"]
    problem = vars(caplog.records[0])["fields"]["problem"]
    assert problem == "a record has the shape [1, 3] in a call with others, [1, 1] alone"


def documents(count: int) -> Request:
    """Return a record of queries and as many documents."""
    rows = [[float(n), 1.0] for n in range(1, count + 1)]
    return a_request({"q": rows, "d": rows}, form=Form.INPUTS, rows=count)


def test_an_output_for_the_whole_call_is_compared_as_it_is() -> None:
    """It must not depend on any row, not even by little."""
    number = TensorSpec(FLOAT32, ())
    total = TensorSpec(FLOAT32, (), Scope.CALL)
    servable = FunctionServable(
        Signature({"x": number}, {"y": number, "level": total}),
        lambda i: {"y": i["x"] + 1, "level": np.float32(100 + i["x"].mean() * 0.01)},
    )
    predictor = a_predictor(servable, check_batches=1)

    outcomes_of(predictor, [a_request(value) for value in SMALL])

    assert is_apart(predictor)
