"""Steps do what the file says, and a file that cannot work is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.support.servables.kind_context import ServablesInMemory
from topicserve.servables.core.errors import InvalidArgumentError, NotFoundError
from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.storage_path import StoragePath
from topicserve.servables.kinds.servable import Signature, TensorSpec
from topicserve.servables.kinds.transform import make_adapter
from topicserve.servables.kinds.transform.transform import Transform, load_transform

FLOAT32 = np.dtype(np.float32)
BIG = 2**53 + 1
"""The first integer that no float64 holds."""


def write(directory: Path, definition: Any) -> str:
    """Write a transform's file; return the version's path."""
    (directory / "transform.json").write_text(json.dumps(definition))
    return str(directory)


def one_step(
    directory: Path, dtype: str, shape: list[int | None] | None, /, **step: Any
) -> Transform:
    """Load a transform of one step from the column `x` to the column `y`."""
    definition = {
        "inputs": {"x": {"dtype": dtype} if shape is None else {"dtype": dtype, "shape": shape}},
        "steps": [{"input": "x", "output": "y"} | step],
        "outputs": ["y"],
    }
    return load_transform(write(directory, definition), "transform.json")


def apply(transform: Transform, rows: Any) -> NDArray[Any]:
    """Return what becomes of the rows."""
    dtype = transform.signatures["serving_default"].inputs["x"].dtype
    return transform.predict({"x": np.array(rows, dtype)})["y"]


@pytest.mark.parametrize(
    ("dtype", "shape", "step", "rows", "wanted"),
    [
        ("float32", [], {"step": "scale", "subtract": 1, "multiply_by": 2}, [1, 2], [0, 2]),
        ("float32", [2], {"step": "scale", "subtract": [1, 2]}, [[1, 2]], [[0, 0]]),
        ("int64", [2], {"step": "scale", "multiply_by": [0.5, 2]}, [[1, 2]], [[0.5, 4]]),
        ("float64", [], {"step": "clip", "minimum": 0, "maximum": 1}, [-1, 0.5, 2], [0, 0.5, 1]),
        ("int8", [], {"step": "clip", "minimum": 0}, [-1, 100], [0, 100]),
        ("int64", [], {"step": "clip", "maximum": BIG}, [2**62, BIG - 1], [BIG, BIG - 1]),
        ("int64", [], {"step": "clip", "minimum": -BIG}, [-(2**62)], [-BIG]),
        ("uint64", [], {"step": "clip", "maximum": 2**64 - 1}, [2**64 - 1, 1], [2**64 - 1, 1]),
        ("uint64", [], {"step": "clip", "minimum": 2**64 - 1}, [1], [2**64 - 1]),
        ("int8", [], {"step": "clip", "maximum": 100.0}, [127], [100]),
        ("float32", [], {"step": "bucketize", "boundaries": [0, 10]}, [-1, 0, 9, 10], [0, 1, 1, 2]),
        ("int64", [], {"step": "bucketize", "boundaries": [BIG]}, [BIG - 1, BIG], [0, 1]),
        (
            "int8",
            [],
            {"step": "bucketize", "boundaries": [-999, 0.5, 999]},
            [0, 1, -128],
            [1, 2, 1],
        ),
        ("uint64", [], {"step": "bucketize", "boundaries": [2**64 - 1]}, [2**64 - 1, 0], [1, 0]),
        ("bool", [], {"step": "bucketize", "boundaries": [0.5]}, [False, True], [0, 1]),
        ("float64", [], {"step": "scale", "subtract": BIG - 1}, [0], [float(1 - BIG)]),
        ("int32", [], {"step": "one_hot", "depth": 2}, [1, 2, -1], [[0, 1], [0, 0], [0, 0]]),
        ("float32", [3], {"step": "argmax"}, [[0, 2, 2], [3, 1, 0]], [1, 0]),
        ("float32", [], {"step": "cast", "dtype": "int32"}, [1.9, -1.9], [1, -1]),
        ("int64", [], {"step": "cast", "dtype": "bool"}, [0, 2], [False, True]),
        ("int64", [4], {"step": "reshape", "shape": [2, -1]}, [[1, 2, 3, 4]], [[[1, 2], [3, 4]]]),
        ("int64", [1], {"step": "reshape", "shape": []}, [[1], [2]], [1, 2]),
        ("string", [], {"step": "rename"}, [b"a"], [b"a"]),
    ],
)
def test_step_changes_values(
    tmp_path: Path, dtype: str, shape: Any, step: dict[str, Any], rows: Any, wanted: Any
) -> None:
    """Each step does what its name says."""
    assert apply(one_step(tmp_path, dtype, shape, **step), rows).tolist() == wanted


# TensorFlow's threads take subnormal numbers for 0.
FLOATS = st.floats(width=32, allow_nan=False, allow_subnormal=False)


@given(values=st.lists(FLOATS | st.sampled_from([-0.3, 0.7]), min_size=1, max_size=5))
def test_buckets_are_tensorflows(
    tmp_path_factory: pytest.TempPathFactory, values: list[float]
) -> None:
    """A model trained on TensorFlow's buckets meets the same ones."""
    boundaries = [-0.3, 0.0, 0.7]
    directory = tmp_path_factory.mktemp("transform")
    transform = one_step(directory, "float32", [], step="bucketize", boundaries=boundaries)

    theirs = tf.raw_ops.Bucketize(input=tf.constant(values, tf.float32), boundaries=boundaries)

    assert apply(transform, values).tolist() == theirs.numpy().tolist()


@given(
    values=st.lists(st.integers(-(2**63), 2**63 - 1) | st.just(BIG), min_size=1, max_size=5),
    boundaries=st.sets(
        st.integers(-(2**64), 2**64)
        | st.floats(-1e20, 1e20)
        | st.sampled_from([BIG, float(BIG - 1)]),
        min_size=1,
        max_size=4,
    ),
)
def test_integers_are_counted_exactly(
    tmp_path_factory: pytest.TempPathFactory, values: list[int], boundaries: set[float]
) -> None:
    """Also those that no float holds."""
    directory = tmp_path_factory.mktemp("transform")
    limits = sorted(boundaries)
    transform = one_step(directory, "int64", [], step="bucketize", boundaries=limits)

    assert apply(transform, values).tolist() == [
        sum(limit <= value for limit in limits) for value in values
    ]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_greatest_is_tensorflows(tmp_path: Path, dtype: str) -> None:
    """What is not a number is never the greatest; of nothing else the place is 0."""
    transform = one_step(tmp_path, dtype, [None], step="argmax")
    random = np.random.default_rng(3)
    for size in (1, 2, 5, 16, 33):
        rows = random.normal(size=(40, size)).astype(dtype)
        for share, odd in ((0.4, np.nan), (0.2, -np.inf), (0.1, np.inf)):
            rows[random.random(rows.shape) < share] = odd

        assert apply(transform, rows).tolist() == tf.argmax(rows, axis=-1).numpy().tolist()


def test_columns_are_joined_in_order(tmp_path: Path) -> None:
    """Features of several columns become one, single values as columns of one."""
    definition = {
        "inputs": {
            "age": {"dtype": "float32", "shape": []},
            "country": {"dtype": "int64", "shape": []},
        },
        "steps": [
            {"step": "scale", "input": "age", "multiply_by": 0.01},
            {"step": "one_hot", "input": "country", "depth": 3},
            {"step": "concatenate", "columns": ["age", "country"], "output": "features"},
        ],
        "outputs": ["features", "age"],
    }
    transform = load_transform(write(tmp_path, definition), "transform.json")

    outputs = transform.predict(
        {"age": np.array([50, 25], np.float32), "country": np.array([2, 0])}
    )

    assert outputs["features"].tolist() == [[0.5, 0, 0, 1], [0.25, 1, 0, 0]]
    assert transform.signatures["serving_default"] == Signature(
        {
            "age": TensorSpec(np.dtype(np.float32), ()),
            "country": TensorSpec(np.dtype(np.int64), ()),
        },
        {
            "features": TensorSpec(np.dtype(np.float32), (4,)),
            "age": TensorSpec(np.dtype(np.float32), ()),
        },
    )


STEPS = st.one_of(
    st.fixed_dictionaries(
        {"step": st.just("scale"), "multiply_by": st.floats(-2, 2) | st.just([1.0, 2.0])}
    ),
    st.fixed_dictionaries({"step": st.just("clip"), "minimum": st.sampled_from([-1, 0.5, 300])}),
    st.just({"step": "bucketize", "boundaries": [0.0, 1.0]}),
    st.just({"step": "one_hot", "depth": 2}),
    st.just({"step": "argmax"}),
    st.fixed_dictionaries(
        {"step": st.just("cast"), "dtype": st.sampled_from(["int8", "float16", "bool", "string"])}
    ),
    st.fixed_dictionaries(
        {"step": st.just("reshape"), "shape": st.lists(st.integers(-1, 3), max_size=3)}
    ),
    st.just({"step": "concatenate", "columns": ["x", "y"], "output": "x"}),
)


@given(
    dtype=st.sampled_from(["float32", "int64", "bool", "uint8", "string"]),
    shape=st.lists(st.none() | st.integers(0, 3), max_size=3) | st.none(),
    steps=st.lists(STEPS, max_size=4),
    sizes=st.lists(st.integers(0, 3), min_size=3, max_size=3),
)
def test_what_comes_out_is_what_the_signature_says(
    tmp_path_factory: pytest.TempPathFactory,
    dtype: str,
    shape: list[int | None] | None,
    steps: list[dict[str, Any]],
    sizes: list[int],
) -> None:
    """Whatever the steps: refused at load, or the inferred dtype, shape and number of rows."""
    definition = {
        "inputs": {name: {"dtype": dtype, "shape": shape} for name in ("x", "y")},
        "steps": [{"input": "x"} | step if "columns" not in step else step for step in steps],
        "outputs": ["x"],
    }
    if shape is None:
        definition["inputs"] = {name: {"dtype": dtype} for name in ("x", "y")}
    path = write(tmp_path_factory.mktemp("transform"), definition)
    try:
        transform = load_transform(path, "transform.json")
    except InvalidArgumentError:
        return
    dims = [
        size if known is None else known for known, size in zip(shape or [], sizes, strict=False)
    ]
    column = np.ones((2, *dims), bool).astype(object if dtype == "string" else dtype)

    try:
        output = transform.predict({"x": column, "y": column})["x"]
    except InvalidArgumentError as error:
        assert shape is None or None in shape, error  # noqa: PT017 - only what no one knew may fail
        return

    spec = transform.signatures["serving_default"].outputs["x"]
    assert output.dtype == spec.dtype
    assert len(output) == 2
    if spec.shape is not None:
        assert len(spec.shape) == output.ndim - 1
        assert all(
            known in (None, size) for known, size in zip(spec.shape, output.shape[1:], strict=True)
        )


@pytest.mark.parametrize(
    ("dtype", "shape", "step", "problem"),
    [
        ("string", [], {"step": "scale"}, r"steps\[0\] \(scale\): takes numbers, found strings"),
        ("float32", [3], {"step": "scale", "subtract": [1, 2]}, "`subtract` has 2 numbers for"),
        ("float32", [], {"step": "scale", "multiply_by": [1, 2]}, "`multiply_by` has 2 numbers"),
        ("float32", [], {"step": "clip"}, r"a `minimum` or a `maximum` - at `\$.steps\[0\]`"),
        ("float32", [], {"step": "clip", "minimum": 2, "maximum": 1}, "must not be above"),
        ("int8", [], {"step": "clip", "minimum": 0.5}, "`minimum` must be a value of int8"),
        ("int8", [], {"step": "clip", "maximum": 128}, "`maximum` must be a value of int8"),
        ("uint64", [], {"step": "clip", "maximum": 2**64}, "`maximum` must be a value of uint64"),
        ("float32", [], {"step": "clip", "maximum": 10**400}, "be of values of float32|range"),
        ("bool", [], {"step": "clip", "maximum": 1}, "found booleans"),
        ("float32", [], {"step": "bucketize", "boundaries": [1, 1]}, "`boundaries` must increase"),
        ("float32", [], {"step": "one_hot", "depth": 2}, "takes integers, found float32"),
        ("int64", [], {"step": "one_hot", "depth": 0}, r"`\$.steps\[0\].depth`"),
        ("float32", [], {"step": "argmax"}, "at least one dimension"),
        ("string", [], {"step": "cast", "dtype": "int64"}, "strings cannot be cast"),
        ("int64", [], {"step": "cast", "dtype": "int65"}, "'int65'"),
        ("int64", [3], {"step": "reshape", "shape": [2, -1]}, r"shape \[3\] cannot become \[2, -1"),
        ("int64", [4], {"step": "reshape", "shape": [-1, -1]}, "at most one -1"),
        ("int64", [4], {"step": "exec", "code": "1"}, "Invalid value 'exec'"),
        ("int64", [4], {"step": "argmax", "axis": 1}, "unknown field `axis`"),
        ("int64", [4], {"step": "argmax", "input": "z"}, "there is no column 'z'; known: x"),
        ("int64", [4], {"step": "argmax", "output": "z"}, "outputs: there is no column 'y'"),
        ("int64", [4], {"step": "rename", "output": None}, "rename must have an `output`"),
    ],
)
def test_bad_step_is_refused_at_load(
    tmp_path: Path, dtype: str, shape: Any, step: dict[str, Any], problem: str
) -> None:
    """The error names the file and the step."""
    with pytest.raises(InvalidArgumentError, match=problem) as caught:
        one_step(tmp_path, dtype, shape, **step)

    assert f"{tmp_path}" in str(caught.value)
    assert "transform.json" in str(caught.value)


@pytest.mark.parametrize(
    ("other", "problem"),
    [
        ({"dtype": "int64", "shape": [2]}, "one dtype, found float32, int64; cast them"),
        ({"dtype": "float32", "shape": [2, 2]}, "alike but for the last size"),
    ],
)
def test_columns_that_do_not_join_are_refused(
    tmp_path: Path, other: dict[str, Any], problem: str
) -> None:
    """Only columns of one dtype and of as many dimensions stand side by side."""
    definition = {
        "inputs": {"a": {"dtype": "float32", "shape": [2]}, "b": other},
        "steps": [{"step": "concatenate", "columns": ["a", "b"], "output": "c"}],
        "outputs": ["c"],
    }

    with pytest.raises(InvalidArgumentError, match=problem):
        load_transform(write(tmp_path, definition), "transform.json")


def test_row_of_a_wrong_size_is_refused_by_step(tmp_path: Path) -> None:
    """Where the file left a size open, the row that does not fit hears which step it was."""
    transform = one_step(tmp_path, "int64", None, step="reshape", shape=[2])

    with pytest.raises(InvalidArgumentError, match=r"steps\[0\] \(reshape\): .*\[3\]"):
        apply(transform, [[1, 2, 3]])


def test_unknown_signature_is_refused(tmp_path: Path) -> None:
    """A transform has one signature."""
    with pytest.raises(InvalidArgumentError, match="no signature 'x'"):
        one_step(tmp_path, "int64", [], step="rename").predict({"x": np.array([1])}, "x")


def test_missing_file_is_named(tmp_path: Path) -> None:
    """The file looked for is named."""
    with pytest.raises(NotFoundError, match=r"transform\.json: there is no such file"):
        load_transform(str(tmp_path), "transform.json")


def test_adapter_loads_the_file_of_its_options(tmp_path: Path) -> None:
    """A loader of the adapter makes a transform; an option that is not there is named."""
    one_step(tmp_path, "int64", [], step="rename")
    (tmp_path / "transform.json").rename(tmp_path / "features.json")
    version = ServableData(ServableId("t", 1), StoragePath(str(tmp_path)))
    context = ServablesInMemory()
    loader = make_adapter({"file": "features.json"}, context).adapt_one_version(version).payload

    loader.load_with_id(version.id)

    assert loader.servable.predict({"x": np.array([1])})["y"].tolist() == [1]
    with pytest.raises(InvalidArgumentError, match="there is no `code`; known are: file"):
        make_adapter({"code": "1"}, context)
