"""Models that others have made: exporters of three libraries, and the files of the onnx package."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from tests.servables.kinds.onnx.export_files import FILES
from topicserve.servables.kinds.onnx.onnx_model import OnnxModel
from topicserve.servables.kinds.onnx.options import OnnxOptions

PACKAGED = Path(onnx.__file__).parent / "backend/test/data"
# Convolutions, strings, sequences inside of the graph, shapes as inputs.
OF_THE_PACKAGE = [
    "pytorch-converted/test_Conv2d_groups",
    "pytorch-converted/test_PixelShuffle",
    "pytorch-operator/test_operator_repeat",
    "simple/test_expand_shape_model1",
    "simple/test_sequence_model1",
    "simple/test_strnorm_model_nostopwords_nochangecase",
]
NAMES = sorted(path.stem for path in FILES.glob("*.onnx"))


def column(rows: Any) -> NDArray[Any]:
    """Return JSON's rows as a column; strings are bytes."""
    found = np.array(rows)
    if found.dtype.kind != "U":
        return found.astype(np.float32) if found.dtype == np.float64 else found
    return np.array([one.encode() for one in found.reshape(-1)], object).reshape(found.shape)


def assert_same(found: NDArray[Any], wanted: NDArray[Any]) -> None:
    """Compare strings as they are, and numbers as far as libraries agree."""
    if wanted.dtype.hasobject or wanted.dtype.kind in "iub":
        assert found.tolist() == wanted.tolist()
    else:
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_an_exported_model_predicts_what_its_library_does(name: str) -> None:
    """PyTorch, scikit-learn and TensorFlow, as export_files.py made them."""
    told = json.loads((FILES / f"{name}.json").read_text())
    model = OnnxModel.load(str(FILES), OnnxOptions(file=f"{name}.onnx"))

    outputs = model.predict({key: column(rows) for key, rows in told["inputs"].items()})

    assert outputs.keys() == told["outputs"].keys()
    for key, rows in told["outputs"].items():
        assert_same(outputs[key], column(rows))


def test_exported_models_have_rows_as_they_were_meant() -> None:
    """Records share calls, but for the one model whose inputs differ in their number of rows."""
    models = {name: OnnxModel.load(str(FILES), OnnxOptions(file=f"{name}.onnx")) for name in NAMES}

    alone = {
        name for name, one in models.items() if not one.signatures["serving_default"].joins_records
    }
    assert len(NAMES) == 6
    assert alone == {"pytorch_similarity"}


def test_a_dictionary_of_probabilities_is_left_out_with_the_remedy(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What skl2onnx writes by default is no tensor."""
    OnnxModel.load(str(FILES), OnnxOptions(file="scikit_learn_zipmap.onnx"))

    assert "'output_probability' is seq(map(int64,tensor(float)))" in caplog.text
    assert "options={'zipmap': False}" in caplog.text


@pytest.mark.parametrize("name", OF_THE_PACKAGE)
def test_files_of_the_onnx_package_are_served(name: str) -> None:
    """With the inputs and outputs that lie beside each, whole as they are."""
    folder = PACKAGED / name
    graph = onnx.load(folder / "model.onnx").graph
    model = OnnxModel.load(str(folder), OnnxOptions(batch_records=False))

    def tensor(side: str, number: int) -> NDArray[Any]:
        content = (folder / f"test_data_set_0/{side}_{number}.pb").read_bytes()
        array = onnx.numpy_helper.to_array(onnx.TensorProto.FromString(content))
        return column(array.tolist()) if array.dtype.hasobject else array

    weights = {one.name for one in graph.initializer}
    inputs = [one.name for one in graph.input if one.name not in weights]
    outputs = model.predict({key: tensor("input", place) for place, key in enumerate(inputs)})

    assert outputs
    for place, declared in enumerate(graph.output):
        assert_same(outputs[declared.name], tensor("output", place))
