"""A pipeline's scopes are those that its steps show."""

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from tests.servables.kinds.pipeline.test_pipeline import load
from tests.support.servables.kind_context import FunctionServable, ServablesInMemory
from tests.support.stages.outcomes import outcomes
from tests.support.stages.records import a_request
from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.kinds.servable import Columns, Scope, Signature, TensorSpec
from topicserve.wire.json_codec.body import Form

FLOAT32, STRING, INT64 = np.dtype(np.float32), np.dtype(object), np.dtype(np.int64)
ROWS = TensorSpec(FLOAT32, ())
KEEP = TensorSpec(FLOAT32, (), Scope.CALL)
NAMES = np.array([b"a", b"bb", b"ccc"], object)


class Scaling(FunctionServable):
    """y = x * keep, with the names of classes and a mean; notes what it is asked for."""

    def __init__(self) -> None:
        outputs = {
            "y": ROWS,
            "names": TensorSpec(STRING, (3,), Scope.CALL),
            "mean": TensorSpec(FLOAT32, (), Scope.BATCH),
        }
        super().__init__(Signature({"x": ROWS, "keep": KEEP}, outputs), self._scale)
        self.asked: list[Any] = []

    def _scale(self, inputs: Columns) -> Columns:
        y: Any = np.multiply(inputs["x"], inputs["keep"], dtype=np.float32)
        return {"y": y, "names": NAMES, "mean": np.asarray(y.mean())}

    def predict_outputs(self, inputs: Columns, signature_name: str, outputs: Any) -> Columns:
        self.asked.append(sorted(outputs))
        found = self.predict(inputs, signature_name)
        return {name: found[name] for name in outputs}


def lengths(inputs: Columns) -> Columns:
    """Return the lengths of texts."""
    return {"length": np.array([len(text) for text in inputs["text"]], np.int64)}


@pytest.fixture
def context() -> ServablesInMemory:
    """Return a core that serves them."""
    texts = Signature({"text": TensorSpec(STRING, ())}, {"length": TensorSpec(INT64, ())})
    plain = Signature({"x": ROWS}, {"y": ROWS})
    untold = TensorSpec(FLOAT32, None, Scope.UNKNOWN)
    return ServablesInMemory(
        {
            ("scale", 1): Scaling(),
            ("lengths", 1): FunctionServable(texts, lengths),
            ("plus", 1): FunctionServable(plain, lambda inputs: {"y": inputs["x"] + 1}),
            ("stats", 1): FunctionServable(
                Signature({"x": ROWS}, {"mean": TensorSpec(FLOAT32, (2,), Scope.BATCH)}),
                lambda inputs: {"mean": np.full(2, inputs["x"].mean(), np.float32)},
            ),
            ("center", 1): FunctionServable(
                Signature({"x": ROWS, "mean": TensorSpec(FLOAT32, (2,), Scope.CALL)}, {"y": ROWS}),
                lambda inputs: {"y": inputs["x"] - inputs["mean"][0]},
            ),
            ("echo", 1): FunctionServable(
                Signature({"x": untold}, {"y": untold}), lambda inputs: {"y": inputs["x"]}
            ),
        }
    )


SCALE = {"name": "s", "servable": "scale", "inputs": {"x": "x", "keep": "keep"}}
LENGTHS = {"name": "l", "servable": "lengths", "inputs": {"text": "s.names"}}


CENTER = {"name": "c", "servable": "center", "inputs": {"x": "x", "mean": "s.mean"}}
NUMBER = {"dtype": "float32", "shape": []}
BY_BATCH = {
    "steps": [
        {"name": "s", "servable": "stats", "inputs": {"x": "x"}},
        CENTER,
        {"name": "d", "servable": "plus", "inputs": {"x": "s.mean"}},
    ],
    "outputs": {"y": "c.y", "mean": "s.mean", "later": "d.y"},
}
DECLARED = BY_BATCH | {
    "signature": {"inputs": {"x": NUMBER}, "outputs": dict.fromkeys(["y", "mean", "later"], NUMBER)}
}


def values_of(pipeline: Any, *requests: Any) -> list[Any]:
    """Return predictions, the same alone and in the batch, padded or not."""
    together = outcomes(pipeline, requests)
    assert outcomes(pipeline, requests, (8,)) == together
    for request in requests:
        assert outcomes(pipeline, [request]).items() <= together.items()
    bodies = [together[request.input.record_id] for request in requests]
    return [_value(b) if isinstance(b, bytes) else b for b in bodies]


def _value(body: bytes) -> Any:
    said = orjson.loads(body)
    return said["prediction"] if "prediction" in said else said["predictions"]


def test_call_inputs_go_through_the_steps(tmp_path: Path, context: ServablesInMemory) -> None:
    """A label table fed with class names gives one tensor for the call, and records still join."""
    definition = {
        "steps": [SCALE, LENGTHS],
        "outputs": {"y": "s.y", "keep": "keep", "lengths": "l.length"},
    }
    pipeline = load(tmp_path, definition, context)
    signature = pipeline.signatures["serving_default"]

    values = values_of(
        pipeline, *[a_request({"x": n, "keep": keep}) for n, keep in ((1, 2), (2, 2), (3, 5))]
    )

    assert {n: spec.scope for n, spec in signature.inputs.items()} == {
        "x": Scope.ROW,
        "keep": Scope.CALL,
    }
    assert signature.outputs == {
        "y": ROWS,
        "keep": KEEP,
        "lengths": TensorSpec(INT64, (None,), Scope.CALL),
    }
    assert signature.joins_records
    assert values == [
        {"y": y, "keep": keep, "lengths": [1, 2, 3]} for y, keep in ((2, 2), (4, 2), (15, 5))
    ]


@pytest.mark.parametrize(
    "definition",
    [
        {"steps": [SCALE], "outputs": {"y": "s.y", "mean": "s.mean"}},
        # What is computed from all rows goes into each row's answer.
        {
            "steps": [SCALE, SCALE | {"name": "t", "inputs": {"x": "s.y", "keep": "s.mean"}}],
            "outputs": {"y": "t.y"},
        },
        {
            "steps": [SCALE, {"name": "e", "servable": "echo", "inputs": {"x": "s.y"}}],
            "outputs": {"y": "s.y", "e": "e.y"},
        },
        # The same input is one a row here, and one for the call there.
        {
            "steps": [
                {"name": "p", "servable": "plus", "inputs": {"x": "keep"}},
                SCALE | {"inputs": {"x": "p.y", "keep": "keep"}},
            ],
            "outputs": {"p": "p.y"},
        },
    ],
)
def test_steps_that_rows_must_not_share_keep_records_apart(
    tmp_path: Path, context: ServablesInMemory, definition: Any
) -> None:
    """Whichever of its outputs the pipeline gives."""
    pipeline = load(tmp_path, definition, context)
    inputs = pipeline.signatures["serving_default"].inputs

    values_of(pipeline, *[a_request(dict.fromkeys(inputs, n)) for n in (1, 2, 3)])

    assert not pipeline.signatures["serving_default"].joins_records


@pytest.mark.parametrize("definition", [BY_BATCH, DECLARED])
def test_lengths_that_agree_by_chance_cut_nothing(
    tmp_path: Path, context: ServablesInMemory, definition: Any
) -> None:
    """A mean of two numbers is no value a row, also where a record has two rows."""
    pipeline = load(tmp_path, definition, context)
    rows = [a_request([1 + n, 3 + n], form=Form.INSTANCES, rows=2) for n in (0, 10)]
    outputs = pipeline.signatures["serving_default"].outputs

    two, others, lone = values_of(pipeline, *rows, a_request(5))

    assert {name: spec.scope for name, spec in outputs.items()} == {
        "y": Scope.ROW,
        "mean": Scope.BATCH,
        "later": Scope.BATCH,
    }
    assert two == [{"y": y, "mean": [2, 2], "later": [3, 3]} for y in (-1, 1)]
    assert others == [{"y": y, "mean": [12, 12], "later": [13, 13]} for y in (-1, 1)]
    assert lone == {"y": 0, "mean": [5, 5], "later": [6, 6]}


def test_a_filter_does_not_join_what_steps_keep_apart(
    tmp_path: Path, context: ServablesInMemory
) -> None:
    """The output with rows that is left is computed from the mean all the same."""
    pipeline = load(tmp_path, BY_BATCH, context)
    requests = [
        a_request({"x": np.array([n], np.float32)}, form=Form.TENSORS, output_filter=("y",))
        for n in (1, 2, 3)
    ]

    together = outcomes(pipeline, requests, (8,))

    alone = [outcomes(pipeline, [request])[request.input.record_id] for request in requests]
    assert list(together.values()) == alone


def test_a_pipeline_of_pipelines_keeps_their_scopes(
    tmp_path: Path, context: ServablesInMemory
) -> None:
    """And what is called for each record alone within is so without."""
    inner = load(tmp_path, BY_BATCH, context)
    servables = {(one.id.name, one.id.version): one.servable for one in context.pinned}
    context.publish(servables | {("inner", 1): inner})
    step = {"name": "i", "servable": "inner", "inputs": {"x": "x"}}
    outer = load(tmp_path, {"steps": [step], "outputs": {"y": "i.y"}}, context)
    signature = outer.signatures["serving_default"]

    assert signature.outputs["y"].scope is Scope.ROW
    assert not signature.joins_records
    assert values_of(outer, *map(a_request, (1, 2))) == [0, 0]


@pytest.mark.parametrize(
    ("steps", "scopes", "joins"),
    [
        # Of unknown rank a step's rows stay unknown further on.
        ([("echo", {"x": "x"}), ("plus", {"x": "0.y"})], [Scope.UNKNOWN, Scope.UNKNOWN], False),
        # Rows that a step takes as one tensor of the whole call.
        ([("plus", {"x": "x"}), ("center", {"x": "x", "mean": "0.y"})], [Scope.ROW] * 2, False),
        ([("lengths", {"text": "names"}), ("plus", {"x": "x"})], [Scope.ROW] * 2, True),
        ([("stats", {"x": "x"}), ("plus", {"x": "0.mean"})], [Scope.BATCH] * 2, False),
        # An input that one step takes as rows and another one for the call.
        (
            [("center", {"x": "x", "mean": "m"}), ("stats", {"x": "m"})],
            [Scope.ROW, Scope.BATCH],
            False,
        ),
    ],
)
def test_scopes_go_from_step_to_step(
    tmp_path: Path, context: ServablesInMemory, steps: Any, scopes: Any, joins: bool
) -> None:
    """Each keeps what its signature says as far as what it is fed with allows."""
    definition = {
        "steps": [
            {"name": str(n), "servable": servable, "inputs": inputs}
            for n, (servable, inputs) in enumerate(steps)
        ],
        "outputs": {
            str(n): f"{n}.{ {'lengths': 'length', 'stats': 'mean'}.get(servable, 'y') }"
            for n, (servable, _) in enumerate(steps)
        },
    }

    signature = load(tmp_path, definition, context).signatures["serving_default"]

    assert [signature.outputs[str(n)].scope for n in range(len(steps))] == scopes
    assert signature.joins_records is joins


def test_an_output_that_no_step_uses_keeps_none_apart(
    tmp_path: Path, context: ServablesInMemory
) -> None:
    """The mean is there, but is neither used nor asked for."""
    scale: Any = context.pinned[0].servable
    pipeline = load(tmp_path, {"steps": [SCALE], "outputs": {"y": "s.y"}}, context)

    assert values_of(pipeline, *[a_request({"x": n, "keep": 2}) for n in (1, 2)]) == [2, 4]
    assert pipeline.signatures["serving_default"].joins_records
    assert set(map(tuple, scale.asked)) == {("y",)}


def test_a_filter_runs_only_the_steps_that_it_needs(
    tmp_path: Path, context: ServablesInMemory
) -> None:
    """A step that fails is no fault of a record that does not want what it gives."""

    def refuse(_: Columns) -> Columns:
        raise InvalidArgumentError("never")

    broken = FunctionServable(Signature({"x": ROWS}, {"y": ROWS}), refuse)
    servables = {(one.id.name, one.id.version): one.servable for one in context.pinned}
    context.publish(servables | {("broken", 1): broken})
    definition = {
        "steps": [
            {"name": "p", "servable": "plus", "inputs": {"x": "x"}},
            {"name": "b", "servable": "broken", "inputs": {"x": "p.y"}},
        ],
        "outputs": {"good": "p.y", "bad": "b.y"},
    }
    pipeline = load(tmp_path, definition, context)
    tensors = {"x": np.ones(2, np.float32)}
    good, everything = (
        a_request(tensors, form=Form.TENSORS, output_filter=names) for names in (("good",), ())
    )

    found = outcomes(pipeline, [good, everything])

    assert isinstance(found[good.input.record_id], bytes)
    assert not isinstance(found[everything.input.record_id], bytes)


def test_a_declared_signature_has_the_scopes_of_the_steps(
    tmp_path: Path, context: ServablesInMemory
) -> None:
    """The author declares rows; for what belongs to the call that says nothing."""
    number = {"dtype": "float32", "shape": []}
    definition = {
        "steps": [SCALE],
        "outputs": {"y": "s.y"},
        "signature": {"inputs": {"x": number, "keep": number}, "outputs": {"y": number}},
    }

    signature = load(tmp_path, definition, context).signatures["serving_default"]

    assert signature == Signature({"x": ROWS, "keep": KEEP}, {"y": ROWS})
