"""A file that is no ONNX model is named for what it is."""

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnxruntime.capi import onnxruntime_pybind11_state as native

from tests.support.servables.onnx_files import echoes, model, node, save, value
from topicserve.servables.core.errors import DataLossError, FailedPreconditionError, NotFoundError
from topicserve.servables.kinds.onnx.onnx_model import OnnxModel
from topicserve.servables.kinds.onnx.options import OnnxOptions
from topicserve.servables.kinds.onnx.runtime import translate

DEFAULTS = OnnxOptions()


def a_zip(directory: Path) -> bytes:
    """Return a ZIP archive."""
    with zipfile.ZipFile(directory / "zip", "w") as archive:
        archive.writestr("weights", "1")
    return (directory / "zip").read_bytes()


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS"),
        (b"\n <!DOCTYPE html><html>", "an HTML or XML page"),
        (b"zip", "a ZIP archive"),
        (b"\x1f\x8b\x08\x00more", "compressed with gzip"),
        (pickle.dumps([1]), "a pickle"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    ],
)
def test_what_is_no_model_is_told(content: bytes, hint: str, tmp_path: Path) -> None:
    """By its first bytes, beside what ONNX Runtime says."""
    (tmp_path / "model.onnx").write_bytes(a_zip(tmp_path) if content == b"zip" else content)

    with pytest.raises(DataLossError, match=f"model.onnx: Protobuf parsing failed.*; it is {hint}"):
        OnnxModel.load(str(tmp_path), DEFAULTS)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("MODEL.ONNX", "set the option file to the one that is there: 'MODEL.ONNX'"),
        ("model.ort", "'model.ort' is in ONNX Runtime's own format, which is not read"),
    ],
)
def test_a_file_of_another_name_is_told(name: str, hint: str, tmp_path: Path) -> None:
    """Names are compared to the letter."""
    (tmp_path / name).write_bytes(b"")

    with pytest.raises(NotFoundError, match=hint):
        OnnxModel.load(str(tmp_path), DEFAULTS)


def test_a_missing_locale_is_told_with_what_installs_it() -> None:
    """Operators on texts need it, and the image may not have it."""
    said = "Exception during initialization: Failed to construct locale with name:en_US.UTF-8:"

    found = translate(native.RuntimeException(f"[ONNXRuntimeError] : 6 : FAIL : {said} not valid"))

    assert "needs the locale en_US.UTF-8: apt-get install --yes locales && localedef" in str(found)


def test_a_model_may_be_a_link_if_it_has_no_external_data(tmp_path: Path) -> None:
    """As where versions are links into a store of files."""
    weights = {"w": np.arange(4, dtype=np.float32)}
    made = model(
        [node("Add", ["x", "w"], ["y"])], [value("x", ["N", 4])], [value("y", ["N", 4])], weights
    )
    save(made, tmp_path / "store", "whole")
    save(made, tmp_path / "store", "parts", save_as_external_data=True, size_threshold=0)
    for version, file in (("1", "whole"), ("2", "parts")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "model.onnx").symlink_to(tmp_path / "store" / file)

    loaded = OnnxModel.load(str(tmp_path / "1"), DEFAULTS)

    found = loaded.predict({"x": np.zeros((1, 4), np.float32)})["y"]
    assert found.tolist() == [weights["w"].tolist()]
    with pytest.raises(FailedPreconditionError, match="External data"):
        OnnxModel.load(str(tmp_path / "2"), DEFAULTS)


def test_an_input_with_an_initializer_is_a_constant(tmp_path: Path) -> None:
    """It is not in the signature, so records cannot set it."""
    made = model(
        [node("Mul", ["x", "k"], ["y"])],
        [value("x", ["N"]), value("k", [1])],
        [value("y", ["N"])],
        {"k": np.full(1, 3, np.float32)},
    )

    loaded = OnnxModel.load(save(made, tmp_path), DEFAULTS)

    assert list(loaded.signatures["serving_default"].inputs) == ["x"]
    assert loaded.predict({"x": np.ones(1, np.float32)})["y"].tolist() == [3.0]


def test_advice_about_skl2onnx_is_for_maps_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A sequence of tensors is what a classifier of several outputs has without it."""
    made = echoes(x=["batch"])
    made.graph.node.append(node("SequenceConstruct", ["x", "x"], ["several"]))
    made.graph.output.append(
        helper.make_tensor_sequence_value_info("several", TensorProto.FLOAT, None)
    )

    OnnxModel.load(save(made, tmp_path), DEFAULTS)

    assert "left out: 'several' is seq(tensor(float))" in caplog.text
    assert "options=" not in caplog.text
