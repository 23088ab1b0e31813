"""What keeps an ONNX model from being loaded is named in one line."""

import weakref
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.support.servables.onnx_files import FLOAT, echoes, model, node, save, some_rows, value
from topicserve.servables.core.errors import (
    DataLossError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    ServableError,
    UnimplementedError,
)
from topicserve.servables.kinds.onnx.onnx_model import OnnxModel
from topicserve.servables.kinds.onnx.options import OnnxOptions

DEFAULTS = OnnxOptions()
BFLOAT16 = value("y", ["batch"], onnx.TensorProto.BFLOAT16)
WEIGHTS = np.arange(4, dtype=np.float32)
UNKNOWN_OPERATION = model(
    [node("Levitate", ["x"], ["y"], domain="ai.onnx.contrib")],
    [value("x", ["N"])],
    [value("y", ["N"])],
)
UNKNOWN_OPERATION.opset_import.add(domain="ai.onnx.contrib", version=1)


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """Return the directory of a version, with a directory of others beside it."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/weights").write_bytes(WEIGHTS.tobytes())
    (tmp_path / "models/1").mkdir(parents=True)
    return tmp_path / "models/1"


def test_a_missing_file_is_named_with_the_one_that_is_there(version: Path) -> None:
    """The option `file` takes another."""
    save(echoes(x=["batch"]), version, "net.onnx")

    with pytest.raises(NotFoundError, match=r"1/model.onnx: .*set the option file .*: 'net.onnx'"):
        OnnxModel.load(str(version), DEFAULTS)
    with pytest.raises(NotFoundError, match=r"2/model.onnx: there is no such file$"):
        OnnxModel.load(str(version.parent / "2"), DEFAULTS)
    assert OnnxModel.load(str(version), OnnxOptions(file="net.onnx")).signatures


def test_a_version_may_be_one_file(version: Path) -> None:
    """Where the path is a file's, that is the model."""
    path = save(echoes(x=["batch"]), version, "any")

    assert OnnxModel.load(f"{path}/any", DEFAULTS).signatures


@pytest.mark.parametrize(
    ("content", "kind", "problem"),
    [
        (b"", InvalidArgumentError, "No graph was found"),
        (b"no model", DataLossError, "Protobuf parsing failed"),
        (echoes(x=["batch"]).SerializeToString()[:-9], DataLossError, "Protobuf parsing failed"),
        (UNKNOWN_OPERATION.SerializeToString(), ServableError,
         "there is no operator ai.onnx.contrib:Levitate: .*op_libraries"),
        (
            model([node("Add", "ab", "c")], [value("a", [1]), value("b", [1])], [value("c", [1])],
                  opset=6).SerializeToString(),
            UnimplementedError,
            r"Could not find an implementation for Add\(6\)",
        ),
        (
            model([node("Identity", ["x"], ["y"])], [value("x", [1])], [value("y", [1])],
                  opset=9999).SerializeToString(),
            FailedPreconditionError,
            "Opset 9999 is under development",
        ),
    ],
    ids=["empty", "other", "cut", "operation", "old", "new"],
)  # fmt: skip
def test_a_file_that_is_no_model_for_us(
    version: Path, content: bytes, kind: type[ServableError], problem: str
) -> None:
    """The error has the file, the cause, and no line of the library's own code."""
    (version / "model.onnx").write_bytes(content)

    with pytest.raises(kind, match=problem) as caught:
        OnnxModel.load(str(version), DEFAULTS)

    assert str(caught.value).startswith(f"{version}/model.onnx: ")
    assert "\n" not in str(caught.value)
    assert "/onnxruntime_src" not in str(caught.value)


@pytest.mark.parametrize("name", [b"x", b"Identity"])
def test_a_name_that_is_no_text_is_an_error(version: Path, name: bytes) -> None:
    """Of an input as of an operator, which the library puts into its own error."""
    content = echoes(x=["batch"]).SerializeToString()
    damaged = content.replace(name, b"\xff" * len(name))
    (version / "model.onnx").write_bytes(damaged)

    with pytest.raises(ServableError, match=r"1/model.onnx: a name in it is not UTF-8"):
        OnnxModel.load(str(version), DEFAULTS)


def with_external_data(location: str) -> onnx.ModelProto:
    """Return a model whose weights lie in another file."""
    made = model(
        [node("Add", ["x", "weights"], ["y"])],
        [value("x", ["batch", 4])],
        [value("y", ["batch", 4])],
        {"weights": WEIGHTS},
    )
    place(made.graph.initializer[0], location)
    return made


def place(tensor: onnx.TensorProto, location: str) -> None:
    """Say that a tensor's data is in a file."""
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, text in {"location": location, "offset": "0", "length": "16"}.items():
        tensor.external_data.add(key=key, value=text)


def with_external_constant(location: str) -> onnx.ModelProto:
    """Return the same with the weights in an operation's attribute."""
    made = model(
        [node("Constant", [], ["w"], value=onnx.numpy_helper.from_array(WEIGHTS)),
         node("Add", ["x", "w"], ["y"])],
        [value("x", ["batch", 4])],
        [value("y", ["batch", 4])],
    )  # fmt: skip
    place(made.graph.node[0].attribute[0].t, location)
    return made


def test_external_data_in_the_directory_is_read(version: Path) -> None:
    """Beside the model, and in a folder of the version."""
    (version / "data").mkdir()
    (version / "data/weights").write_bytes(WEIGHTS.tobytes())
    path = save(with_external_data("data/weights"), version)

    rows = some_rows(2, 4)
    outputs = OnnxModel.load(path, DEFAULTS).predict({"x": rows})

    assert np.allclose(outputs["y"], rows + WEIGHTS)


@pytest.mark.parametrize("make", [with_external_data, with_external_constant])
@pytest.mark.parametrize(
    "location", ["../../elsewhere/weights", "link", "linked/weights", "ABSOLUTE", "missing"]
)
def test_external_data_elsewhere_is_refused(version: Path, make: object, location: str) -> None:
    """Neither `..` nor an absolute path nor a link leads out of the version's directory."""
    assert callable(make)
    elsewhere = version.parents[1] / "elsewhere"
    (version / "link").symlink_to(elsewhere / "weights")
    (version / "linked").symlink_to(elsewhere)
    path = save(make(location.replace("ABSOLUTE", f"{elsewhere}/weights")), version)

    with pytest.raises(ServableError, match=r"1/model.onnx: .*[Ee]xternal data"):
        OnnxModel.load(path, DEFAULTS)


def test_data_beside_a_linked_model_is_refused(version: Path) -> None:
    """A link to the model's file does not make its own directory the version's."""
    elsewhere = version.parents[1] / "elsewhere"
    save(with_external_data("weights"), elsewhere)
    (version / "model.onnx").symlink_to(elsewhere / "model.onnx")

    with pytest.raises(ServableError, match=r"1/model.onnx: .*[Ee]xternal data"):
        OnnxModel.load(str(version), DEFAULTS)


def test_a_library_of_operations_never_comes_from_a_version(version: Path) -> None:
    """Nor from beside one: what lies under the base path is data."""
    path = save(echoes(x=["batch"]), version)
    library = version.parent / "ops.so"
    library.write_bytes(b"")

    with pytest.raises(FailedPreconditionError, match=r"ops.so lies under the base path"):
        OnnxModel.load(path, OnnxOptions(op_libraries=(str(library),)))


@pytest.mark.parametrize(
    ("library", "problem"),
    [
        ("/nowhere/ops.so", "op_libraries: /nowhere/ops.so cannot be loaded: .*No such file"),
        ("json", "op_libraries: the module 'json' gives no library"),
        ("not_installed_at_all", "op_libraries: the module 'not_installed_at_all' gives no lib"),
    ],
)
def test_a_library_that_is_missing_is_named(version: Path, library: str, problem: str) -> None:
    """With the option."""
    path = save(echoes(x=["batch"]), version)

    with pytest.raises(FailedPreconditionError, match=problem):
        OnnxModel.load(path, OnnxOptions(op_libraries=(library,)))


def test_cuda_is_never_replaced_by_the_cpu(version: Path) -> None:
    """Where it is not installed the load fails, and says what to install."""
    path = save(echoes(x=["batch"]), version)

    with pytest.raises(FailedPreconditionError, match=r"topicserve\[onnx-gpu\]"):
        OnnxModel.load(path, OnnxOptions(provider="cuda"))


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_cuda_that_cannot_start_is_an_error(version: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime would go on with the CPU, and say nothing that a program can see."""
    path = save(echoes(x=["batch"]), version)
    claimed = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: claimed)

    with pytest.raises(FailedPreconditionError, match=r"'cuda' could not be started"):
        OnnxModel.load(path, OnnxOptions(provider="cuda"))


def test_what_a_failed_load_took_is_given_back(
    version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although its error is kept, with the traceback that leads to the session."""
    made = model([node("Cast", ["y"], ["z"], to=FLOAT)], [BFLOAT16], [value("z", ["batch"])])
    opened: list[Any] = []
    open_session = onnxruntime.InferenceSession

    def noted(*arguments: Any, **settings: Any) -> Any:
        session = open_session(*arguments, **settings)
        opened.append(weakref.ref(session))
        return session

    monkeypatch.setattr(onnxruntime, "InferenceSession", noted)
    with pytest.raises(UnimplementedError, match="'y' is tensor") as kept:
        OnnxModel.load(save(made, version), DEFAULTS)

    assert kept.value.__traceback__ is not None
    assert [one() for one in opened] == [None]
