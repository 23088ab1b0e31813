"""A pipeline calls servables in turn, all of one moment."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.servables.buffers import OneBuffer
from tests.support.servables.kind_context import FunctionServable, ServablesInMemory
from tests.support.stages.outcomes import outcomes
from tests.support.stages.records import a_request
from topicserve.servables.core.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
)
from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.storage_path import StoragePath
from topicserve.servables.kinds.pipeline import make_adapter
from topicserve.servables.kinds.pipeline.pipeline import PipelineServable, load_pipeline
from topicserve.servables.kinds.servable import Columns, Servable, Signature, TensorSpec
from topicserve.wire.dead_letter import Reason

FLOAT32, INT64, STRING = (np.dtype(kind) for kind in (np.float32, np.int64, object))
NUMBER = Signature({"x": TensorSpec(FLOAT32, ())}, {"y": TensorSpec(FLOAT32, ())})


def number_servable(function: Callable[[Any], Any]) -> FunctionServable:
    """Return a servable that takes a float `x` and gives a float `y`."""
    return FunctionServable(NUMBER, lambda inputs: {"y": function(inputs["x"])})


def plus(amount: float) -> FunctionServable:
    """Return a servable that adds."""
    return number_servable(lambda x: x + np.float32(amount))


def step(name: str, servable: str, x: str, **more: Any) -> dict[str, Any]:
    """Return a step that feeds `x`."""
    return {"name": name, "servable": servable, "inputs": {"x": x}, **more}


TWO_STEPS = {
    "steps": [step("first", "add", "number"), step("second", "double", "first.y")],
    "outputs": {"sum": "first.y", "result": "second.y", "given": "number"},
}


def write(directory: Path, definition: Any) -> str:
    """Write a pipeline's file; return the version's path."""
    (directory / "pipeline.json").write_text(json.dumps(definition))
    return str(directory)


def load(directory: Path, definition: Any, context: ServablesInMemory) -> PipelineServable:
    """Write a pipeline and load it."""
    return load_pipeline(write(directory, definition), "pipeline.json", context)


def numbers(*values: float) -> Columns:
    """Return the input of the pipelines here."""
    return {"number": np.array(values, np.float32)}


@pytest.fixture
def context() -> ServablesInMemory:
    """Return a core that serves `add` and `double`."""
    return ServablesInMemory({("add", 1): plus(1), ("double", 1): number_servable(lambda x: x * 2)})


def test_steps_feed_one_another(tmp_path: Path, context: ServablesInMemory) -> None:
    """What a step gives is there for all later ones, and for the result."""
    pipeline = load(tmp_path, TWO_STEPS, context)

    outputs = pipeline.predict(numbers(1, 2))

    assert {name: column.tolist() for name, column in outputs.items()} == {
        "sum": [2, 3],
        "result": [4, 6],
        "given": [1, 2],
    }
    assert context.open_handles == 0


def test_a_step_may_change_its_inputs(tmp_path: Path) -> None:
    """Other steps and the result have what was there before."""
    negating = number_servable(lambda x: np.negative(x, out=x))
    definition = {
        "steps": [step("a", "negate", "number"), step("b", "negate", "number")],
        "outputs": {"a": "a.y", "b": "b.y", "given": "number"},
    }
    pipeline = load(tmp_path, definition, ServablesInMemory({("negate", 1): negating}))

    outputs = pipeline.predict(numbers(1, 2))

    assert [outputs[name].tolist() for name in ("a", "b", "given")] == [[-1, -2], [-1, -2], [1, 2]]


def test_signature_is_derived_from_the_steps(tmp_path: Path, context: ServablesInMemory) -> None:
    """Inputs are what the steps need from outside, outputs what the file lets out."""
    number = TensorSpec(FLOAT32, ())

    assert load(tmp_path, TWO_STEPS, context).signatures == {
        "serving_default": Signature(
            {"number": number}, {"sum": number, "result": number, "given": number}
        )
    }
    assert context.open_handles == 0


def test_declared_signature_replaces_dtypes_and_shapes(
    tmp_path: Path, context: ServablesInMemory
) -> None:
    """While a step is missing it is not told: what has rows would be a guess, and records wait."""
    declared = {
        "inputs": {"number": {"dtype": "float32", "shape": [None, 3]}},
        "outputs": {
            "sum": {"dtype": "float32"},
            "result": {"dtype": "string", "shape": []},
            "given": {"dtype": "int64", "shape": []},
        },
    }
    servables = {(one.id.name, one.id.version): one.servable for one in context.pinned}
    context.publish({})
    pipeline = load(tmp_path, TWO_STEPS | {"signature": declared}, context)

    with pytest.raises(UnavailableError):
        _ = pipeline.signatures
    context.publish(servables)

    assert pipeline.signatures["serving_default"] == Signature(
        {"number": TensorSpec(FLOAT32, (None, 3))},
        {
            "sum": TensorSpec(FLOAT32, None),
            "result": TensorSpec(STRING, ()),
            "given": TensorSpec(INT64, ()),
        },
    )


def test_missing_servable_passes(tmp_path: Path, context: ServablesInMemory) -> None:
    """While a step's servable is away the error is retriable; when it is there, all is well."""
    context.publish({("add", 1): plus(1)})
    pipeline = load(tmp_path, TWO_STEPS, context)

    for ask in (lambda: pipeline.predict(numbers(1)), lambda: pipeline.signatures):
        with pytest.raises(UnavailableError, match=r"servable is missing: .*double") as error:
            ask()
        assert error.value.retriable
    assert context.open_handles == 0

    context.publish({("add", 1): plus(1), ("double", 1): plus(2)})
    assert pipeline.predict(numbers(1))["result"].tolist() == [4]


def test_versions_and_labels_are_asked_for(tmp_path: Path) -> None:
    """A step may want one version, or the one of a label."""
    context = ServablesInMemory({("add", number): plus(number) for number in (1, 2, 3)})
    context.labels["add", "stable"] = 2
    definition = {
        "steps": [
            step("one", "add", "number", version=1),
            step("stable", "add", "number", label="stable"),
            step("latest", "add", "number"),
        ],
        "outputs": {name: f"{name}.y" for name in ("one", "stable", "latest")},
    }

    outputs = load(tmp_path, definition, context).predict(numbers(0))

    assert {name: column.tolist() for name, column in outputs.items()} == {
        "one": [1],
        "stable": [2],
        "latest": [3],
    }


def test_missing_label_passes(tmp_path: Path) -> None:
    """A label may still be given to a version."""
    context = ServablesInMemory({("add", 1): plus(1)})
    definition = {
        "steps": [step("a", "add", "number", label="stable")],
        "outputs": {"y": "a.y"},
    }
    pipeline = load(tmp_path, definition, context)
    with pytest.raises(UnavailableError, match="label 'stable'"):
        pipeline.predict(numbers(1))

    context.labels["add", "stable"] = 1

    assert pipeline.predict(numbers(1))["y"].tolist() == [2]


def swapping(context: ServablesInMemory, after: dict[tuple[str, int], Servable]) -> Servable:
    """Return a servable in whose call everything is swapped."""

    def swap(x: Any) -> Any:
        context.publish(after)
        return x

    return number_servable(swap)


def test_swap_during_a_call_changes_nothing_in_it(tmp_path: Path) -> None:
    """All steps of a call are of one moment; the next call takes the new versions."""
    context = ServablesInMemory()
    after: dict[tuple[str, int], Servable] = {("first", 2): plus(0), ("add", 2): plus(20)}
    context.publish({("first", 1): swapping(context, after), ("add", 1): plus(10)})
    pipeline = load(
        tmp_path,
        {
            "steps": [step("a", "first", "number"), step("b", "add", "a.y")],
            "outputs": {"y": "b.y"},
        },
        context,
    )

    assert pipeline.predict(numbers(0))["y"].tolist() == [10]
    assert pipeline.predict(numbers(0))["y"].tolist() == [20]


def test_steps_of_a_nested_pipeline_are_of_the_same_moment(tmp_path: Path) -> None:
    """A pipeline in a pipeline uses the versions that were there when the outer call began."""
    context = ServablesInMemory()
    (tmp_path / "inner").mkdir()
    inner = load(
        tmp_path / "inner",
        {"steps": [step("add", "add", "x")], "outputs": {"y": "add.y"}},
        context,
    )
    after: dict[tuple[str, int], Servable] = {
        ("inner", 1): inner,
        ("first", 2): plus(0),
        ("add", 2): plus(20),
    }
    before = {("inner", 1): inner, ("first", 1): swapping(context, after), ("add", 1): plus(10)}
    context.publish(before)
    definition = {
        "steps": [step("a", "first", "number"), step("b", "inner", "a.y")],
        "outputs": {"y": "b.y"},
    }
    outer = load(tmp_path, definition, context)

    assert outer.signatures["serving_default"].inputs == {"number": TensorSpec(FLOAT32, ())}
    assert outer.predict(numbers(0))["y"].tolist() == [10]
    assert outer.predict(numbers(0))["y"].tolist() == [20]
    assert context.open_handles == 0


def test_pipeline_that_calls_itself_is_refused(tmp_path: Path) -> None:
    """A circle ends in an error, not in the depth of the stack."""
    context = ServablesInMemory()
    circle = load(tmp_path, {"steps": [step("a", "circle", "x")], "outputs": {"y": "a.y"}}, context)
    context.publish({("circle", 1): circle})

    with pytest.raises(FailedPreconditionError, match="calls itself"):
        circle.predict({"x": np.ones(1, np.float32)})


def test_error_names_the_step(tmp_path: Path, context: ServablesInMemory) -> None:
    """What a step raises keeps its class, so that the caller knows whose fault it is."""

    def refuse(_: Any) -> Any:
        raise InvalidArgumentError("not these")

    context.publish({("add", 1): plus(1), ("double", 1): number_servable(refuse)})

    with pytest.raises(InvalidArgumentError, match="step 'second': not these"):
        load(tmp_path, TWO_STEPS, context).predict(numbers(1))
    assert context.open_handles == 0


def test_step_that_loses_rows_is_refused(tmp_path: Path, context: ServablesInMemory) -> None:
    """Rows would be told apart no more."""
    context.publish({("add", 1): number_servable(lambda x: x[:1]), ("double", 1): plus(0)})

    with pytest.raises(FailedPreconditionError, match=r"step 'first': output 'y'.* for 2 rows"):
        load(tmp_path, TWO_STEPS, context).predict(numbers(1, 2))


def test_unknown_signature_is_refused(tmp_path: Path, context: ServablesInMemory) -> None:
    """A pipeline has one signature."""
    with pytest.raises(InvalidArgumentError, match="no signature 'x'"):
        load(tmp_path, TWO_STEPS, context).predict(numbers(1), "x")


def test_missing_input_is_named(tmp_path: Path, context: ServablesInMemory) -> None:
    """A caller that leaves an input out hears which."""
    with pytest.raises(InvalidArgumentError, match="input 'number' is missing"):
        load(tmp_path, TWO_STEPS, context).predict({"other": np.ones(1)})


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"steps": [step("first", "add", "second.y"), step("second", "double", "first.y")]},
            "step 'first': 'x' comes from 'second.y', but the steps before are: none",
        ),
        ({"outputs": {"y": "third.y"}}, "outputs: .*steps before are: first, second"),
        ({"steps": [step("a", "add", "x"), step("a", "add", "x")]}, "an earlier step has the same"),
        ({"steps": []}, r"length >= 1 - at `\$.steps`"),
        ({"steps": [step("a.b", "add", "x")]}, r"matching regex.*`\$.steps\[0\].name`"),
        ({"steps": [step("a", "add", "x", version=1, label="b")]}, "a version or a label"),
        ({"steps": [step("a", "add", "x", verison=1)]}, "unknown field `verison`"),
        (
            {"signature": {"inputs": {"x": {"dtype": "float32"}}, "outputs": {}}},
            "signature.inputs: must be what the steps use, number; found x",
        ),
        (
            {"signature": {"inputs": {"number": {"dtype": "float"}}, "outputs": {}}},
            r"'float' - at `\$.signature.inputs\[...\].dtype`",
        ),
        ({"outputs": {"y": "first.z"}}, "step 'first' gives no 'z'"),
        (
            {"steps": [step("first", "add", "n", signature_name="s")], "outputs": {"y": "first.y"}},
            "step 'first': add, latest version has no signature 's'; known: serving_default",
        ),
        (
            {
                "steps": [{"name": "first", "servable": "add", "inputs": {"z": "n"}}],
                "outputs": {"y": "first.y"},
            },
            "step 'first': add, latest version takes x; the pipeline feeds z",
        ),
    ],
)
def test_bad_file_is_refused_with_its_place(
    tmp_path: Path, context: ServablesInMemory, changes: dict[str, Any], problem: str
) -> None:
    """A file that cannot work fails the load, in an error that names file and place."""
    with pytest.raises(InvalidArgumentError, match=problem) as caught:
        load(tmp_path, TWO_STEPS | changes, context)

    assert str(tmp_path) in str(caught.value)


def test_what_is_no_json_is_refused(tmp_path: Path) -> None:
    """A missing file and one that is not JSON are named."""
    with pytest.raises(NotFoundError, match=r"pipeline\.json: there is no such file"):
        load_pipeline(str(tmp_path), "pipeline.json", ServablesInMemory())
    (tmp_path / "pipeline.json").write_bytes(b"{\xff")
    with pytest.raises(InvalidArgumentError, match=r"pipeline\.json: "):
        load_pipeline(str(tmp_path), "pipeline.json", ServablesInMemory())


def test_adapter_loads_with_the_cores_servables(tmp_path: Path, context: ServablesInMemory) -> None:
    """A loader of the adapter makes a pipeline over what the core serves."""
    version = ServableData(ServableId("p", 1), StoragePath(write(tmp_path, TWO_STEPS)))
    loader = make_adapter({}, context).adapt_one_version(version).payload

    loader.load_with_id(version.id)

    assert loader.servable.predict(numbers(1))["result"].tolist() == [4]
    with pytest.raises(InvalidArgumentError, match="there is no `step`; known are: file"):
        make_adapter({"step": 1}, context)


def lookup() -> FunctionServable:
    """Return a servable that looks up 32-bit keys: 7 is there."""
    spec = TensorSpec(np.dtype(np.int32), ())
    return FunctionServable(
        Signature({"x": spec}, {"y": TensorSpec(STRING, ())}),
        lambda inputs: {"y": np.array([b"seven" if x == 7 else b"?" for x in inputs["x"]], object)},
    )


def identity(dtype: Any) -> FunctionServable:
    """Return a servable that gives what it takes, of one dtype."""
    spec = TensorSpec(np.dtype(dtype), ())
    return FunctionServable(
        Signature({"x": spec}, {"y": spec}), lambda inputs: {"y": inputs["x"].copy()}
    )


def test_a_number_that_the_next_step_cannot_hold_is_a_dead_letter_alone(tmp_path: Path) -> None:
    """It is never answered as another number; the records beside it are answered."""
    context = ServablesInMemory({("ids", 1): identity(np.int64), ("names", 1): lookup()})
    definition = {
        "steps": [step("id", "ids", "number"), step("name", "names", "id.y")],
        "outputs": {"name": "name.y"},
    }
    requests = [a_request(value) for value in (7, 2**32 + 7, 8)]

    found = outcomes(load(tmp_path, definition, context), requests)

    first, beyond, last = (found[request.input.record_id] for request in requests)
    assert b'"prediction":"seven"' in first
    assert b'"prediction":"?"' in last
    assert beyond[0] is Reason.PREDICT_FAILED
    assert beyond[1] == (
        b"InvalidArgumentError: step 'name': input 'x': 4294967303 is out of range for int32, "
        b"which is from -2147483648 to 2147483647"
    )


def test_a_step_may_write_all_its_answers_into_one_buffer(tmp_path: Path) -> None:
    """What it gave at first is still there when it was called again."""
    context = ServablesInMemory({("multiply", 1): OneBuffer()})
    steps = [
        {"name": n, "servable": "multiply", "inputs": {"x": x, "factor": "factor"}}
        for n, x in (("first", "number"), ("second", "first.y"))
    ]
    definition = {"steps": steps, "outputs": {"first": "first.y", "second": "second.y"}}
    inputs: Columns = {**numbers(1, 2), "factor": np.array(3, np.float32)}

    outputs = load(tmp_path, definition, context).predict(inputs)

    assert [outputs[name].tolist() for name in ("first", "second")] == [[3, 6], [9, 18]]


@pytest.mark.parametrize("declared", [None, "float32"])
def test_dtypes_that_never_fit_are_refused_at_load(tmp_path: Path, declared: str | None) -> None:
    """Also where the file declares what its inputs are."""
    context = ServablesInMemory({("scores", 1): identity(np.float32), ("names", 1): lookup()})
    steps = [step("score", "scores", "number"), step("name", "names", "score.y")]
    definition: dict[str, Any] = {"steps": steps, "outputs": {"name": "name.y"}}
    if declared is not None:
        specs = {
            "inputs": {"number": {"dtype": declared}},
            "outputs": {"name": {"dtype": "string"}},
        }
        definition = {**definition, "steps": [step("name", "names", "number")], "signature": specs}

    with pytest.raises(
        InvalidArgumentError, match="step 'name': input 'x' must be int32, found float32"
    ):
        load(tmp_path, definition, context)
