"""SavedModels load and predict as in TF Serving, whatever they take."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401 - adds bfloat16 to numpy's names
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.servables.kinds.saved_model import exports
from topicserve.servables.core.errors import (
    InvalidArgumentError,
)
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.kinds.saved_model.options import SavedModelOptions
from topicserve.servables.kinds.saved_model.saved_model import SavedModel
from topicserve.servables.kinds.servable import Scope, TensorSpec
from topicserve.servables.server.model_metadata import model_metadata

FLOAT32 = np.dtype(np.float32)
STRING = np.dtype(object)


def strings(rows: list[Any]) -> NDArray[Any]:
    """Return a column of strings."""
    return np.array(rows, object)


def test_tf1_export_predicts(half_plus_two: SavedModel) -> None:
    """A TF 1 export gives what its graph gives."""
    outputs = half_plus_two.predict({"x": np.array([[1], [2], [5]], np.float32)})

    assert {name: column.tolist() for name, column in outputs.items()} == {"y": [[2.5], [3], [4.5]]}


def test_keras_export_predicts(directory: Path) -> None:
    """A Keras 3 export opens, under the names that Keras gives."""
    model = SavedModel.load(exports.export_keras(directory / "keras"), SavedModelOptions())
    ((name, spec),) = model.signatures["serving_default"].inputs.items()

    outputs = model.predict({name: np.ones((2, 4), np.float32)})

    assert spec == TensorSpec(FLOAT32, (4,))
    assert [column.tolist() for column in outputs.values()] == [[[4, 4, 4], [4, 4, 4]]]
    model.close()


@pytest.mark.parametrize("name", exports.DTYPES)
def test_every_dtype_goes_in_and_comes_out(echoes: SavedModel, name: str) -> None:
    """Whatever the dtype, values and dtype survive, and the signature names it."""
    dtype = STRING if name == "string" else np.dtype(name)
    column = (
        strings([[b"", b"\x00\xff"], [b"a", b"b"]])
        if name == "string"
        else np.array([[0, 1], [1, 0]]).astype(dtype)
    )

    output = echoes.predict({"x": column}, name)["y"]

    assert echoes.signatures[name].inputs == {"x": TensorSpec(dtype, (2,))}
    assert echoes.signatures[name].outputs == {"y": TensorSpec(dtype, (2,))}
    assert output.dtype == dtype
    assert output.tolist() == column.tolist()


def test_unknown_rank_takes_any_shape(echoes: SavedModel) -> None:
    """Where not even the rank is known, nothing is assumed."""
    assert echoes.signatures["unknown_rank"].inputs["x"].shape is None
    for shape in ((3,), (3, 2), (3, 1, 4)):
        column = np.zeros(shape, np.float32)
        assert echoes.predict({"x": column}, "unknown_rank")["y"].shape == shape


def test_unknown_dimensions_may_differ_from_call_to_call(echoes: SavedModel) -> None:
    """A dimension declared as unknown is the caller's to choose."""
    assert echoes.signatures["unknown_dimensions"].inputs["x"].shape == (None, None)
    for shape in ((2, 1, 3), (2, 5, 0)):
        output = echoes.predict({"x": np.ones(shape, np.float32)}, "unknown_dimensions")["y"]
        assert output.tolist() == [shape[1] * shape[2]] * 2


def test_several_inputs_and_outputs_go_by_name(echoes: SavedModel) -> None:
    """Columns find their tensors by the signature's names, in whatever order they come."""
    outputs = echoes.predict({"right": strings([b"b"]), "left": strings([b"a"])}, "joined")

    assert outputs["text"].tolist() == [b"ab"]
    assert outputs["length"].tolist() == [1]


def test_one_tensor_may_have_several_names(odd: SavedModel) -> None:
    """Outputs that are one tensor are all answered."""
    outputs = odd.predict({"x": np.zeros((1, 2), np.float32)}, "two_names")

    assert {name: column.tolist() for name, column in outputs.items()} == {
        "also_y": [[1, 1]],
        "y": [[1, 1]],
    }


def test_a_batch_of_one_takes_any_number(odd: SavedModel) -> None:
    """A signature of exactly one row, as exporters write it, is called once a row."""
    for rows in (1, 3, 7):
        column = np.arange(rows * 2, dtype=np.float32).reshape(rows, 2)
        outputs = odd.predict({"x": column, "keep": np.asarray(3, np.float32)}, "one_row")
        assert outputs["y"].tolist() == (column * 3).tolist()
    assert odd.signatures["one_row"].joins_records
    with pytest.raises(InvalidArgumentError, match="at least one row"):
        odd.predict({"x": np.zeros((0, 2), np.float32), "keep": np.float32(1)}, "one_row")  # type: ignore[dict-item]


def test_a_fixed_number_of_rows_is_no_batch_dimension(odd: SavedModel) -> None:
    """Three rows cannot be told from a vector of three: the tensors are taken whole."""
    column = np.arange(6, dtype=np.float32).reshape(3, 2)

    assert odd.signatures["fixed_rows"].inputs["x"] == TensorSpec(FLOAT32, (3, 2), Scope.UNKNOWN)
    assert not odd.signatures["fixed_rows"].joins_records
    assert odd.predict({"x": column}, "fixed_rows")["y"].tolist() == (column * 2).tolist()
    with pytest.raises(InvalidArgumentError, match=r"must have the shape \[3, 2\], found \[1, 2\]"):
        odd.predict({"x": column[:1]}, "fixed_rows")


def test_scalar_input_is_one_value_for_all_rows(odd: SavedModel) -> None:
    """An input without batch dimension comes as the scalar that the graph wants."""
    x, keep = np.ones((2, 2), np.float32), np.asarray(3, np.float32)

    outputs = odd.predict({"x": x, "a_keep_rate": keep}, "scalar_input")

    spec = odd.signatures["scalar_input"].inputs["a_keep_rate"]
    assert spec == TensorSpec(FLOAT32, (), Scope.CALL)
    assert outputs["y"].tolist() == [[3, 3], [3, 3]]
    with pytest.raises(InvalidArgumentError, match=r"'a_keep_rate': must have the shape \[\]"):
        odd.predict({"x": x, "a_keep_rate": np.array([3, 3], np.float32)}, "scalar_input")


def test_an_output_of_the_whole_batch_is_given_whole(odd: SavedModel) -> None:
    """It is computed from all rows, so records must not share a call."""
    outputs = odd.predict({"x": np.ones((2, 2), np.float32)}, "one_total")

    assert outputs["total"] == 4
    assert odd.signatures["one_total"].outputs["total"].scope is Scope.BATCH
    assert not odd.signatures["one_total"].joins_records


def test_a_signature_without_batch_dimension_is_served(odd: SavedModel) -> None:
    """Its tensors are those of one call."""
    outputs = odd.predict({"keep": np.asarray(0.5, np.float32)}, "only_scalars")

    assert outputs["y"] == 1.0
    assert not odd.signatures["only_scalars"].joins_records


def test_signatures_that_cannot_be_called_are_left_out(odd: SavedModel) -> None:
    """Sparse tensors: the other signatures serve."""
    assert "sparse" not in odd.signatures
    assert "fixed_rows" in odd.signatures


def test_tensorflows_initializers_are_no_signatures(echoes: SavedModel) -> None:
    """Only what a user can call is listed."""
    assert not [name for name in echoes.signatures if name.startswith("__")]


@pytest.mark.parametrize(
    ("inputs", "signature_name", "problem"),
    [
        ({"x": np.ones((2, 3), np.float32)}, "two_names", "must have the shape .2., found .3."),
        ({"x": np.ones((2, 2), np.float64)}, "two_names", "double"),
        ({"x": -np.ones((2, 2), np.float32)}, "checked", "no negatives"),
        ({"y": np.ones((2, 2), np.float32)}, "checked", "input 'x' is missing"),
        ({"x": np.ones((2, 2), np.float32)}, "nothing", "no signature 'nothing'; known: checked"),
    ],
)
def test_inputs_at_fault_are_invalid_arguments(
    odd: SavedModel, inputs: dict[str, NDArray[Any]], signature_name: str, problem: str
) -> None:
    """What TensorFlow or the signature refuses is the caller's to correct, in one line."""
    with pytest.raises(InvalidArgumentError, match=problem) as caught:
        odd.predict(inputs, signature_name)

    assert "\n" not in str(caught.value)


def test_threads_predict_at_once(half_plus_two: SavedModel) -> None:
    """Any number of threads call one servable, and each gets its own rows."""
    start = threading.Barrier(8, timeout=30)

    def predict(number: int) -> bool:
        start.wait()
        column = np.full((number + 1, 1), number, np.float32)
        outputs = [half_plus_two.predict({"x": column})["y"] for _ in range(50)]
        return all(np.array_equal(output, column / 2 + 2) for output in outputs)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(predict, range(8)))


def test_metadata_is_the_graphs_own(odd: SavedModel) -> None:
    """All SignatureDefs, with the graph's tensors, as TF Serving prints them."""
    found = model_metadata(ServableId("odd", 1), odd)
    signature_defs = found["metadata"]["signature_def"]["signature_def"]

    assert signature_defs["scalar_input"] == {
        "inputs": {
            "x": {
                "name": "x:0",
                "dtype": "DT_FLOAT",
                "tensor_shape": {
                    "dim": [{"size": "-1", "name": ""}, {"size": "2", "name": ""}],
                    "unknown_rank": False,
                },
            },
            "a_keep_rate": {
                "name": "keep:0",
                "dtype": "DT_FLOAT",
                "tensor_shape": {"dim": [], "unknown_rank": False},
            },
        },
        "outputs": {"y": signature_defs["scalar_input"]["inputs"]["x"] | {"name": "mul:0"}},
        "method_name": "tensorflow/serving/predict",
        "defaults": {},
    }
    assert "coo_sparse" in signature_defs["sparse"]["inputs"]["x"]
