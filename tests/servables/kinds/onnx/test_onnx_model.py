"""What an ONNX model predicts."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto

from tests.support.servables.models import Network
from tests.support.servables.onnx_files import (
    echoes,
    model,
    network_model,
    node,
    save,
    some_rows,
    value,
)
from topicserve.servables.core.errors import (
    InvalidArgumentError,
    RowCountError,
    ServableError,
    UnimplementedError,
)
from topicserve.servables.kinds.onnx.onnx_model import OnnxModel
from topicserve.servables.kinds.onnx.options import OnnxOptions
from topicserve.servables.kinds.servable import Scope

NUMBERS = [
    *("float16", "float32", "float64", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
]
Load = Callable[..., OnnxModel]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Return what loads a model that was made in the test."""

    def loaded(made: Any, **options: Any) -> OnnxModel:
        return OnnxModel.load(save(made, tmp_path / "1"), OnnxOptions(**options))

    return loaded


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> OnnxModel:
    """Load a model that gives strings back."""
    shape = ["batch", None]
    made = model(
        [node("Identity", ["word"], ["same"])],
        [value("word", shape, TensorProto.STRING)],
        [value("same", shape, TensorProto.STRING)],
    )
    return OnnxModel.load(save(made, tmp_path_factory.mktemp("words")), OnnxOptions())


def test_a_network_predicts_as_its_weights_say(load: Load) -> None:
    """Rows go in and come out, one, several and none."""
    network = Network()
    loaded = load(network_model(network))

    for count in (1, 7, 0):
        rows = some_rows(count, 64)
        outputs = loaded.predict({"x": rows})
        assert outputs["probabilities"].shape == (count, 10)
        assert np.allclose(outputs["probabilities"], network.predict(rows), atol=1e-5)


@pytest.mark.parametrize("name", NUMBERS)
def test_every_dtype_of_numpy_goes_in_and_comes_out(load: Load, name: str) -> None:
    """With its own range, unchanged."""
    onnx_type = {"float32": "FLOAT", "float64": "DOUBLE"}.get(name, name.upper())
    number = TensorProto.DataType.Value(onnx_type)
    made = model(
        [node("Identity", ["x"], ["y"])],
        [value("x", ["batch"], number)],
        [value("y", ["batch"], number)],
    )
    column = np.array([0, 1], name)
    if column.dtype.kind in "iu":
        column = np.array([np.iinfo(name).min, np.iinfo(name).max], name)
    loaded = load(made)

    (found,) = loaded.predict({"x": column}).values()

    assert loaded.signatures["serving_default"].inputs["x"].dtype == np.dtype(name)
    assert found.dtype == column.dtype
    assert found.tolist() == column.tolist()


@given(st.lists(st.lists(st.text(st.characters(codec="utf-8")), min_size=2, max_size=2)))
def test_strings_are_bytes_of_utf_8(words: OnnxModel, rows: list[list[str]]) -> None:
    """Whatever text, NUL included, comes back as it was."""
    column = np.array([one.encode() for row in rows for one in row], object).reshape(-1, 2)

    (found,) = words.predict({"word": column}).values()

    assert found.dtype == object
    assert found.tolist() == column.tolist()


def test_a_string_that_is_not_utf_8_is_the_records_error(words: OnnxModel) -> None:
    """ONNX has strings of UTF-8 alone; the error names the input."""
    with pytest.raises(InvalidArgumentError, match="'word': a string is not UTF-8"):
        words.predict({"word": np.array([[b"\xff"]], object)})


def test_a_string_of_the_model_that_is_not_utf_8_is_an_error(load: Load) -> None:
    """It cannot be answered."""
    constant = node("Constant", [], ["bad"], value_strings=[b"\xff"])
    made = model(
        [constant, node("Identity", ["x"], ["y"])],
        [value("x", ["batch"])],
        [value("bad", [1], TensorProto.STRING), value("y", ["batch"])],
    )

    with pytest.raises(InvalidArgumentError, match="an output's string is not UTF-8"):
        load(made).predict({"x": some_rows(2)})


def test_unknown_rank_is_told_from_a_scalar(load: Load) -> None:
    """ONNX Runtime shows both without dimensions; the file says which is which."""
    loaded = load(echoes(rows=["batch", 2], anything=None, rate=[]))
    signature = loaded.signatures["serving_default"]

    assert signature.inputs["anything"].scope is Scope.UNKNOWN
    assert signature.inputs["anything"].shape is None
    assert signature.inputs["rate"].scope is Scope.CALL
    assert signature.inputs["rate"].shape == ()
    given = {
        "rows": some_rows(3, 2),
        "anything": some_rows(2, 2, 2),
        "rate": np.array(0.5, np.float32),
    }
    outputs = loaded.predict(given)
    assert outputs["rate_out"].shape == ()
    assert outputs["anything_out"].shape == (2, 2, 2)


def test_a_batch_of_one_takes_any_number_of_rows(load: Load) -> None:
    """Models exported for one row are called once a row."""
    loaded = load(echoes(x=[1, 2]))
    rows = some_rows(3, 2)

    assert loaded.predict({"x": rows})["x_out"].tolist() == rows.tolist()


def test_what_is_returned_is_the_callers_own(load: Load) -> None:
    """Neither an input, given back, nor a weight of the model: both may be written to."""
    made = model(
        [node("Identity", ["x"], ["y"])],
        [value("x", ["batch"])],
        [value("x", ["batch"]), value("y", ["batch"]), value("weight", [1])],
        {"weight": np.array([5], np.float32)},
    )
    loaded, column = load(made), np.ones(3, np.float32)

    for array in loaded.predict({"x": column}).values():
        array[...] = 7
    outputs = loaded.predict({"x": column})

    assert column.tolist() == [1, 1, 1]
    assert {name: array.tolist() for name, array in outputs.items()} == {
        "x": [1, 1, 1],
        "y": [1, 1, 1],
        "weight": [5],
    }


def test_outputs_are_chosen(load: Load) -> None:
    """What is not asked for is not returned."""
    loaded = load(echoes(a=["batch"], b=["batch"]))
    columns = {"a": some_rows(2), "b": some_rows(2)}

    assert loaded.predict_outputs(columns, "serving_default", ["b_out"]).keys() == {"b_out"}


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({}, "input 'x' is missing"),
        ({"x": np.zeros((1, 3), np.float32)}, r"must have the shape \[2\], found \[3\]"),
        ({"x": np.float32(1)}, "it must have rows"),
        ({"x": np.zeros((1, 2), np.float64)}, "Unexpected input data type"),
    ],
)
def test_a_wrong_input_is_named(load: Load, columns: dict[str, Any], problem: str) -> None:
    """It is the record's error."""
    loaded = load(echoes(x=["batch", 2]))

    with pytest.raises(InvalidArgumentError, match=problem):
        loaded.predict(columns)


def test_another_signature_is_refused(load: Load) -> None:
    """There is one."""
    with pytest.raises(InvalidArgumentError, match="no signature 'other'; known: serving_default"):
        load(echoes(x=["batch"])).predict({"x": some_rows(1)}, "other")


def test_what_fails_inside_of_the_model_is_one_servable_error(load: Load) -> None:
    """An index that a table has not: the cause in one line, without the library's own places."""
    made = model(
        [node("Gather", ["table", "id"], ["row"])],
        [value("id", ["batch"], TensorProto.INT64)],
        [value("row", ["batch", 2])],
        {"table": some_rows(3, 2)},
    )
    loaded = load(made)

    with pytest.raises(InvalidArgumentError, match="out of data bounds") as caught:
        loaded.predict({"id": np.array([0, 3])})

    assert "onnxruntime" not in str(caught.value).lower()
    assert "\n" not in str(caught.value)


def test_other_rows_than_went_in_are_an_error(load: Load) -> None:
    """An output that is declared with rows must have as many."""
    made = model(
        [node("Compress", ["x", "keep"], ["y"], axis=0)],
        [value("x", [None, 1]), value("keep", [None], TensorProto.BOOL)],
        [value("y", [None, 1])],
    )
    loaded = load(made)

    with pytest.raises(RowCountError, match="'y'"):
        loaded.predict({"x": some_rows(2, 1), "keep": np.array([True, False])})


def test_dtypes_that_numpy_has_not(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    """As an input one keeps the model from serving; as an output it is left out, and logged."""
    casts = [node("Cast", ["x"], ["y"], to=TensorProto.BFLOAT16), node("Identity", ["x"], ["z"])]
    narrow = value("y", ["batch"], TensorProto.BFLOAT16)

    loaded = load(model(casts, [value("x", ["batch"])], [narrow, value("z", ["batch"])]))
    with pytest.raises(UnimplementedError, match=r"the input 'y' is tensor\(bfloat16\)"):
        load(model([node("Cast", ["y"], ["z"], to=1)], [narrow], [value("z", ["batch"])]))
    with pytest.raises(UnimplementedError, match="no output is a plain tensor"):
        load(model(casts[:1], [value("x", ["batch"])], [narrow]))

    assert loaded.predict({"x": some_rows(2)}).keys() == {"z"}
    assert "'y' is tensor(bfloat16)" in caplog.text


def test_many_threads_call_one_model(load: Load) -> None:
    """Each gets the answer to its own rows."""
    network = Network()
    loaded = load(network_model(network), session_threads=1)
    rows = [some_rows(count, 64) for count in range(1, 33)]

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda one: loaded.predict({"x": one})["probabilities"], rows))

    for one, answer in zip(rows, answers, strict=True):
        assert np.allclose(answer, network.predict(one), atol=1e-5)


@given(st.lists(st.one_of(st.integers(0, 3), st.none()), max_size=3), st.sampled_from(NUMBERS))
def test_any_array_is_answered_or_refused(
    network_of_four: OnnxModel, sizes: list[int | None], dtype: str
) -> None:
    """Nothing else than a ServableError is raised."""
    column = np.zeros([2 if size is None else size for size in sizes], dtype)

    try:
        found = network_of_four.predict({"x": column})
    except ServableError:
        return
    assert len(found["probabilities"]) == len(column)


@pytest.fixture(scope="module")
def network_of_four(tmp_path_factory: pytest.TempPathFactory) -> OnnxModel:
    """Load a small network."""
    made = network_model(Network(layers=(3, 4, 2)))
    return OnnxModel.load(save(made, tmp_path_factory.mktemp("four")), OnnxOptions())
