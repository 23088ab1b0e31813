"""A signature is bound to the session's tensors, those that go straight through included."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.servables.kinds.saved_model import exports
from tests.support.stages.outcomes import outcomes
from tests.support.stages.records import a_request
from topicserve.servables.kinds.saved_model.options import SavedModelOptions
from topicserve.servables.kinds.saved_model.saved_model import SavedModel
from topicserve.servables.kinds.servable import Scope, TensorSpec
from topicserve.wire.json_codec.body import Form
from topicserve.wire.protobuf_codec import decode_predict_response

tf1 = tf.compat.v1


def passing() -> Mapping[str, Any]:
    """Build signatures that give back what they are fed with."""
    x = tf1.placeholder(tf.float32, [None, 2], "x")
    ids = tf1.placeholder(tf.string, [None], "ids")
    size = tf1.placeholder(tf.int32, [2], "size")
    phase = tf1.placeholder_with_default(tf1.constant(1.0), [], "phase")
    inputs = {"x": x, "ids": ids, "size": size}
    untold = exports.signature({"x": x}, {"x": x, "y": x * 2})
    untold.outputs["x"].tensor_shape.Clear()
    untold.outputs["x"].tensor_shape.unknown_rank = True
    bare = exports.signature({"x": x}, {"x": x, "y": x * 2})
    bare.outputs["x"].name = "x"  # the output's number is left out
    return {
        "serving_default": exports.signature(
            inputs, {"y": x * 2, "kept": x, "again": x, "ids": ids, "size": size}
        ),
        "nothing_else": exports.signature(inputs, inputs),
        "untold": untold,
        "bare": bare,
        "phase": exports.signature({"x": x, "phase": phase}, {"y": x * phase, "phase": phase}),
    }


@pytest.fixture(scope="module")
def model(directory: Path) -> Iterator[SavedModel]:
    """Yield them loaded."""
    path = exports.export_tf1(directory / "passing", passing)
    loaded = SavedModel.load(path, SavedModelOptions())
    yield loaded
    loaded.close()


def test_an_input_may_be_an_output(model: SavedModel) -> None:
    """It has the input's scope and shape, and its own name."""
    outputs = model.signatures["serving_default"].outputs
    float32, int32 = np.dtype(np.float32), np.dtype(np.int32)

    assert set(model.signatures) == set(passing_names())
    assert outputs == {
        "y": TensorSpec(float32, (2,)),
        "kept": TensorSpec(float32, (2,)),
        "again": TensorSpec(float32, (2,)),
        "ids": TensorSpec(np.dtype(object), ()),
        "size": TensorSpec(int32, (2,), Scope.CALL),
    }
    assert model.signatures["untold"].outputs["x"].scope is Scope.ROW
    assert model.signatures["phase"].outputs["phase"].scope is Scope.CALL


def passing_names() -> list[str]:
    """Return the names of the signatures."""
    with tf.Graph().as_default():
        return list(passing())


@pytest.mark.parametrize("name", ["serving_default", "nothing_else"])
def test_what_is_fed_comes_back(model: SavedModel, name: str) -> None:
    """Alone and in company, all outputs or some."""
    one = {
        "x": np.array([[1, 2]], np.float32),
        "ids": np.array([b"\xff"], object),
        "size": np.array([3, 4], np.int32),
    }
    two = one | {"x": np.array([[5, 6], [7, 8]], np.float32), "ids": np.array([b"c", b"d"], object)}
    first = "kept" if name == "serving_default" else "x"
    requests = [
        a_request(one, form=Form.TENSORS),
        a_request(two, form=Form.TENSORS, rows=2),
        a_request(one, form=Form.TENSORS, output_filter=(first,)),
    ]

    found = [
        {n: c.tolist() for n, c in decode_predict_response(body).columns.items()}
        for body in outcomes(model, requests, (8,), name).values()
    ]

    assert found[0][first] == [[1, 2]]
    assert (found[0]["ids"], found[0]["size"]) == ([b"\xff"], [3, 4])
    assert found[1][first] == [[5, 6], [7, 8]]
    assert found[1]["ids"] == [b"c", b"d"]
    assert found[2] == {first: [[1, 2]]}


def test_what_is_fed_comes_back_under_any_spelling(model: SavedModel) -> None:
    """With the output's number or without, and a default where a record has none."""
    x = np.array([[1, 2]], np.float32)

    assert model.predict({"x": x}, "bare")["x"].tolist() == [[1, 2]]
    assert model.predict({"x": x}, "untold")["x"].tolist() == [[1, 2]]
    fed = model.predict({"x": x, "phase": np.array(3, np.float32)}, "phase")
    assert (fed["y"].tolist(), fed["phase"].tolist()) == ([[3, 6]], 3)
