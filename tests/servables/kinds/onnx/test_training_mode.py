"""Models that were exported in training mode are refused, or told."""

import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.servables.kinds.onnx.test_declared_shapes import in_one_folder
from tests.support.servables.onnx_files import model, node, save, value
from topicserve.servables.core.errors import DataLossError, InvalidArgumentError
from topicserve.servables.kinds.onnx.onnx_model import OnnxModel
from topicserve.servables.kinds.onnx.options import OnnxOptions
from topicserve.servables.kinds.onnx.training_mode import read_training_mode

WEIGHTS: dict[str, Any] = {
    name: np.ones(2, np.float32) for name in ("scale", "bias", "mean", "variance")
}
X, Y = value("x", ["batch", 2]), value("y", ["batch", 2])
RATIO: dict[str, Any] = {"ratio": np.array(0.5, np.float32)}
TRUE, FALSE = np.array(True), np.array(False)


def normalization(outputs: tuple[str, ...] = ("y",), **attributes: Any) -> Any:
    """Return a BatchNormalization of x."""
    return node("BatchNormalization", ["x", *WEIGHTS], outputs, **attributes)


def in_a_branch(inner: Any) -> Any:
    """Return an operation that does another if a constant says so."""
    inner.output[0] = "inner"
    other = node("Identity", ["x"], ["other"])
    branches = [
        helper.make_graph([each], "branch", [], [value(each.output[0], ["batch", 2])])
        for each in (inner, other)
    ]
    return node("If", ["yes"], ["y"], then_branch=branches[0], else_branch=branches[1])


def with_function(inner: Any) -> Any:
    """Return a model whose one operation is a function of its own."""
    made = model([node("Own", ["x", *WEIGHTS], ["y"], domain="own")], [X], [Y], WEIGHTS)
    opsets = [helper.make_opsetid("", 20)]
    made.functions.append(
        helper.make_function("own", "Own", ["x", *WEIGHTS], ["y"], [inner], opsets)
    )
    made.opset_import.append(helper.make_opsetid("own", 1))
    return made


def of(operation: Any, opset: int = 20, told: Any = TRUE) -> Any:
    """Return a model of one operation."""
    constants = {**WEIGHTS, **RATIO, "yes": TRUE}
    if told is not None:
        constants["told"] = told
    return model([operation], [X], [Y], constants, opset)


TRAINED = ("y", "new_mean", "new_variance")
IN_TRAINING = {
    "14": lambda: of(normalization(TRAINED, training_mode=1), 14),
    "20": lambda: of(normalization(TRAINED, training_mode=1)),
    "9": lambda: of(normalization((*TRAINED, "saved_mean", "saved_variance")), 9),
    "9 without names": lambda: of(normalization(("y", "", "", "", "")), 9),
    "in a branch": lambda: of(in_a_branch(normalization(TRAINED, training_mode=1))),
    "in two": lambda: of(in_a_branch(in_a_branch(normalization(TRAINED, training_mode=1)))),
    "in a function": lambda: with_function(normalization(TRAINED, training_mode=1)),
}


@pytest.mark.parametrize("form", IN_TRAINING)
def test_batch_normalization_in_training_mode_is_refused(tmp_path: Path, form: str) -> None:
    """Wherever it stands: ONNX Runtime writes its mean and variance back, so calls would mix."""
    path = save(IN_TRAINING[form](), tmp_path)

    with pytest.raises(InvalidArgumentError, match=r"model.onnx: a BatchNormalization is in train"):
        OnnxModel.load(path, OnnxOptions())


@pytest.mark.parametrize(
    "made",
    [
        of(normalization()),
        of(normalization(), 9),
        of(in_a_branch(normalization(training_mode=0))),
        with_function(normalization()),
    ],
    ids=["20", "9", "branch", "function"],
)
def test_batch_normalization_for_inference_is_served(
    tmp_path: Path, made: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The same rows have the same answers, however often they are asked for."""
    served = OnnxModel.load(save(made, tmp_path), OnnxOptions())
    rows = np.array([[1, 2], [3, 4]], np.float32)

    answers = [served.predict({"x": rows})["y"].tolist() for _ in range(3)]

    assert answers == [answers[0]] * 3
    assert not caplog.records


def dropout(told: str) -> Any:
    """Return a Dropout of x whose mode is a value of this name."""
    return node("Dropout", ["x", "ratio", told], ["y"])


def as_constant(flag: Any) -> Any:
    """Return a model whose Dropout has its mode from an operation."""
    constant = node("Constant", [], ["told"], value=numpy_helper.from_array(flag))
    return model([constant, dropout("told")], [X], [Y], RATIO)


def by_input() -> Any:
    """Return a model whose sender chooses the mode."""
    told = value("told", [], TensorProto.BOOL)
    return model([dropout("told")], [X, told], [Y], RATIO)


@pytest.mark.parametrize(
    ("made", "is_told"),
    [
        (of(dropout("told"), told=TRUE), True),
        (of(dropout("told"), told=FALSE), False),
        (of(dropout("")), False),
        (of(in_a_branch(dropout("told")), told=TRUE), True),
        (as_constant(TRUE), True),
        (as_constant(FALSE), False),
        (by_input(), False),
    ],
    ids=["true", "false", "none", "branch", "constant", "constant false", "input"],
)
def test_dropout_in_training_mode_is_told(
    tmp_path: Path, made: Any, is_told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """It is served, with a warning: random answers may be what a person wants."""
    caplog.set_level(logging.WARNING)

    OnnxModel.load(save(made, tmp_path), OnnxOptions()).close()

    told = [record for record in caplog.records if "a Dropout is in training mode" in record.msg]
    assert len(told) == is_told


def test_a_flag_in_the_list_of_numbers_is_read_too(tmp_path: Path) -> None:
    """A tensor may hold it there in place of its raw bytes."""
    made = of(dropout("told"), told=None)
    made.graph.initializer.append(helper.make_tensor("told", TensorProto.BOOL, [], [True]))

    assert read_training_mode(f"{save(made, tmp_path)}/model.onnx").has_dropout


def test_an_operator_of_another_domain_is_not_ours(tmp_path: Path) -> None:
    """Its name may be the same."""
    operation = normalization(TRAINED)
    operation.domain = "other"

    assert read_training_mode(f"{save(of(operation), tmp_path)}/model.onnx") == (False, False)


WHOLE = of(in_a_branch(dropout("told"))).SerializeToString()


@in_one_folder
@given(st.binary() | st.integers(0, len(WHOLE)).map(lambda end: WHOLE[:end])
       | st.tuples(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=3)).map(
           lambda it: WHOLE[: it[0]] + it[1] + WHOLE[it[0] + len(it[1]) :]))  # fmt: skip
def test_any_file_is_read_or_refused(tmp_path: Path, content: bytes) -> None:
    """Also one that is damaged inside: nothing else is raised."""
    (tmp_path / "any.onnx").write_bytes(content)

    with suppress(DataLossError):
        read_training_mode(str(tmp_path / "any.onnx"))
