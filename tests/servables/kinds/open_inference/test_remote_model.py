"""A model behind the Open Inference Protocol is a servable as any other."""

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tests.support.open_inference.server import InferenceServer, echoing, halving, serving
from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.kinds.servable import Scope, Signature, TensorSpec

Load = Callable[..., Any]
FLOAT32 = np.dtype(np.float32)
X = {"x": np.array([[2, 4], [6, 8], [0, 2]], np.float32)}
Y = [[3, 4], [5, 6], [2, 3]]
INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
COLUMNS: dict[str, Any] = {
    "BOOL": np.array([True, False]),
    **{n.upper(): np.array([np.iinfo(n).min, np.iinfo(n).max], n) for n in INTEGERS},
    "FP32": np.array([np.inf, -1.5e-45], np.float32),
    "FP64": np.array([-np.inf, 5e-324]),
    "BYTES": np.array(["été".encode(), b"\x00\xff" * 300], object),
}
# The protocol has these as raw contents alone.
NARROW_FLOATS: dict[str, Any] = {
    "FP16": np.array([65504, 6e-8], np.float16),
    "BF16": np.array([3.3e38, -1e-40], ml_dtypes.bfloat16),
}

every_form = pytest.mark.parametrize(
    ("sends_raw", "answers_raw"), [(True, True), (True, False), (False, True), (False, False)]
)


@every_form
def test_remote_model_predicts(
    server: InferenceServer, target: str, load: Load, sends_raw: bool, answers_raw: bool
) -> None:
    """Columns go there and come back, raw or typed, by the signature of the server's metadata."""
    server.answers_raw = answers_raw
    remote = load(target, raw_contents=sends_raw)

    found = remote.predict(X)

    spec = TensorSpec(FLOAT32, (2,))
    assert remote.signatures == {"serving_default": Signature({"x": spec}, {"y": spec})}
    assert found["y"].tolist() == Y
    assert bool(server.requests[0].raw_input_contents) is sends_raw


@every_form
def test_every_datatype_goes_there_and_back(load: Load, sends_raw: bool, answers_raw: bool) -> None:
    """To the last bit, strings and extremes included."""
    columns = COLUMNS | (NARROW_FLOATS if sends_raw and answers_raw else {})
    server = echoing(*((name, name, [-1]) for name in columns))
    server.answers_raw = answers_raw
    with serving(server) as target:
        found = load(target, raw_contents=sends_raw).predict(columns)

    assert {name: column.dtype for name, column in found.items()} == {
        name: column.dtype for name, column in columns.items()
    }
    assert {name: column.tolist() for name, column in found.items()} == {
        name: column.tolist() for name, column in columns.items()
    }


@pytest.mark.parametrize(
    ("more", "version"), [({}, ""), ({"version": 7}, "7"), ({"version": "v1"}, "v1")]
)
def test_version_file_names_the_remote_model(
    server: InferenceServer, target: str, load: Load, more: Any, version: str
) -> None:
    """Every question says which model and version it is about."""
    load(target, {"model_name": "digits", **more}).predict(X)

    asked = {(one.name, one.version) for one in server.asked}
    assert asked == {("digits", version)}
    assert (server.requests[0].model_name, server.requests[0].model_version) == ("digits", version)


def test_outputs_are_asked_for_by_name(load: Load) -> None:
    """All of them, or those wanted alone; what else the server gives is left out."""
    one, two = ("one", "FP32", [-1]), ("two", "BYTES", [-1])
    columns = {"one": np.ones(2, np.float32), "two": np.array([b"a", b"b"], object)}
    server = echoing(one, two)
    server.change = lambda response: _add(response, "more")
    with serving(server) as target:
        remote = load(target)

        assert sorted(remote.predict(columns)) == ["one", "two"]
        assert sorted(remote.predict_outputs(columns, "serving_default", ["two"])) == ["two"]

    wanted = [[one.name for one in request.outputs] for request in server.requests]
    assert wanted == [["one", "two"], ["two"]]


def _add(response: Any, name: str) -> None:
    response.outputs.add(name=name, datatype="FP32", shape=[0])
    response.raw_output_contents.append(b"")


@pytest.mark.parametrize(("most", "sizes"), [(None, [3]), (3, [3]), (2, [2, 1]), (1, [1, 1, 1])])
def test_no_call_has_more_rows_than_the_server_takes(
    server: InferenceServer, target: str, load: Load, most: int | None, sizes: list[int]
) -> None:
    """A larger batch becomes several calls."""
    remote = load(target) if most is None else load(target, max_batch_size=most)

    assert remote.predict(X)["y"].tolist() == Y
    assert [request.inputs[0].shape[0] for request in server.requests] == sizes


def test_a_fixed_batch_is_called_as_often_as_needed(load: Load) -> None:
    """As OpenVINO declares a model for one row."""
    server = halving(rows=1)
    with serving(server) as target:
        remote = load(target)

        assert remote.predict(X)["y"].tolist() == Y

    assert remote.signatures["serving_default"].joins_records
    assert [list(request.inputs[0].shape) for request in server.requests] == [[1, 2]] * 3


def test_what_has_rows_is_told_from_the_shapes(load: Load) -> None:
    """A fixed size beside rows, and no dimension at all, are for the whole call."""
    tensors = [("x", "FP32", [-1, 2]), ("size", "INT32", [2]), ("keep", "FP32", [])]
    inputs = {**X, "size": np.array([8, 9], np.int32), "keep": np.array(0.5, np.float32)}
    server = InferenceServer(tensors, [("y", "FP32", [-1, 2]), ("size", "INT32", [2])])
    with serving(server) as target:
        remote = load(target)
        vouched = load(target, batch_records=True)
        apart = load(target, batch_records=False)

        found = remote.predict(inputs)

    (signature,) = remote.signatures.values()
    scopes = {name: spec.scope for name, spec in signature.inputs.items()}
    assert scopes == {"x": Scope.ROW, "size": Scope.CALL, "keep": Scope.CALL}
    assert signature.outputs["size"].scope is Scope.BATCH
    assert (found["y"].tolist(), found["size"].tolist()) == (Y, [8, 9])
    assert [one.signatures["serving_default"].joins_records for one in (vouched, apart)] == [
        *(True, False),
    ]


def test_a_signature_of_another_name_is_refused(target: str, load: Load) -> None:
    """The protocol has one a model."""
    with pytest.raises(InvalidArgumentError, match="no signature 'other'; known: serving_default"):
        load(target).predict(X, "other")


def test_inputs_of_another_shape_are_not_sent(
    server: InferenceServer, target: str, load: Load
) -> None:
    """The message has both shapes; servers say less."""
    remote = load(target)

    with pytest.raises(InvalidArgumentError, match=r"'x': a row must have the shape \[2\], found"):
        remote.predict({"x": np.ones((1, 3), np.float32)})
    with pytest.raises(InvalidArgumentError, match="input 'x' is missing"):
        remote.predict({})
    assert server.calls == 0


def test_one_number_a_row_may_come_as_a_list_of_one(load: Load) -> None:
    """As MLServer gives it; the column has the declared shape."""
    server = echoing(("n", "INT64", [-1]))
    server.change = lambda response: response.outputs[0].shape.append(1)
    with serving(server) as target:
        found = load(target).predict({"n": np.array([7, 8])})

    assert found["n"].tolist() == [7, 8]
