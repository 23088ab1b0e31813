"""What has rows is told from a remote model's signatures as from a local one's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import predict_pb2

from tests.servables.kinds.tf_serving.server import HalfPlusTwo, serving, tensor_info
from tests.servables.kinds.tf_serving.test_tf_serving import load
from tests.support.stages.outcomes import outcomes
from tests.support.stages.records import a_request
from topicserve.servables.kinds.servable import Scope
from topicserve.wire.json_codec.body import Form
from topicserve.wire.protobuf_codec import decode_predict_response

F32 = tf.float32


def a_signature(inputs: Any, outputs: Any) -> Any:
    """Return a SignatureDef of (dtype, shape) by name."""
    return meta_graph_pb2.SignatureDef(
        inputs={name: tensor_info(*spec) for name, spec in inputs.items()},
        outputs={name: tensor_info(*spec) for name, spec in outputs.items()},
        method_name="tensorflow/serving/predict",
    )


X, Y = (F32, [None, 2]), (F32, [None, 2])


class Scopes(HalfPlusTwo):
    """Multiplies x by the scalar `keep`, with class names or a total beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.signatures = {
            "kept": a_signature({"x": X, "keep": (F32, [])}, {"y": Y}),
            "named": a_signature({"x": X}, {"y": Y, "names": (tf.string, [3])}),
            "one_row": a_signature({"x": (F32, [1, 2])}, {"y": (F32, [1, 2])}),
            "nothing": a_signature({}, {"names": (tf.string, [3]), "one": (F32, [])}),
            "matrix": a_signature({"x": (F32, [2, 2])}, {"y": (F32, [2, 2]), "sum": (F32, [])}),
        }

    def Predict(self, request: Any, _: Any) -> Any:  # noqa: N802 - gRPC's name
        self.requests.append(request)
        inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        x = inputs.get("x", np.zeros(()))
        found = {
            "y": x * inputs.get("keep", np.float32(2)),
            "names": np.array([b"a", b"b", b"c"], object),
            "sum": x.sum(),
            "one": np.float32(1),
        }
        response = predict_pb2.PredictResponse(model_spec=request.model_spec)
        outputs = self.signatures[request.model_spec.signature_name].outputs
        for name in request.output_filter or outputs:
            response.outputs[name].CopyFrom(tf.make_tensor_proto(found[name]))
        return response


@pytest.fixture
def server() -> Scopes:
    """Return what is served."""
    return Scopes()


@pytest.fixture
def target(server: Scopes) -> Iterator[str]:
    """Yield where it is served."""
    with serving(server) as address:
        yield address


def tensors(*rows: Any, **more: Any) -> Any:
    """Return x, and other inputs."""
    return {"x": np.array(rows, np.float32)} | {n: np.float32(v) for n, v in more.items()}


def answers(remote: Any, signature: str, *requests: Any) -> list[Any]:
    """Return the columns of the results; in a batch they are what they are alone."""
    together = outcomes(remote, requests, (), signature)
    for request in requests:
        assert outcomes(remote, [request], (), signature).items() <= together.items()
    bodies = [together[request.input.record_id] for request in requests]
    return [{n: c.tolist() for n, c in decode_predict_response(b).columns.items()} for b in bodies]


def a_record(content: Any, *wanted: str) -> Any:
    """Return a protobuf record."""
    return a_request(content, form=Form.TENSORS, output_filter=wanted)


def test_call_inputs_are_sent_as_they_are(tmp_path: Path, target: str, server: Scopes) -> None:
    """Records of equal ones share a call."""
    remote = load(tmp_path, target=target)
    requests = [a_record(tensors([n, n], keep=keep)) for n, keep in ((1, 3), (2, 5), (4, 3))]

    found = outcomes(remote, requests, (), "kept")

    shapes = [tf.make_ndarray(request.inputs["x"]).tolist() for request in server.requests]
    assert shapes == [[[1, 1], [4, 4]], [[2, 2]]]
    assert all(isinstance(one, bytes) for one in found.values())
    assert answers(remote, "kept", *requests) == [{"y": [[v, v]]} for v in (3, 10, 12)]
    remote.close()


def test_outputs_for_the_call_keep_records_apart(
    tmp_path: Path, target: str, server: Scopes
) -> None:
    """The remote's graph does not show whether rows go into them; the owner may vouch for it."""
    (tmp_path / "vouched").mkdir()
    remote = load(tmp_path, target=target)
    vouched = load(tmp_path / "vouched", target=target, batch_records=True)
    requests = [a_record(tensors([n, n])) for n in range(3)]
    whole = [{"y": [[2 * n, 2 * n]], "names": [b"a", b"b", b"c"]} for n in range(3)]

    assert remote.signatures["named"].outputs["names"].scope is Scope.BATCH
    assert answers(remote, "named", *requests) == whole
    server.requests.clear()
    outcomes(vouched, requests, (), "named")
    assert len(server.requests) == 1
    assert answers(vouched, "named", *requests) == whole
    for one in (remote, vouched):
        one.close()


@pytest.mark.parametrize("batch_records", [None, True, False])
def test_a_signature_without_inputs_is_asked_for(
    tmp_path: Path, target: str, batch_records: bool | None
) -> None:
    """One record a call, whatever the owner vouches for; outputs are whole."""
    remote = load(tmp_path, target=target, batch_records=batch_records)
    whole = {"names": [b"a", b"b", b"c"], "one": 1.0}

    assert answers(remote, "nothing", a_record({}), a_record({})) == [whole, whole]
    assert not remote.signatures["nothing"].joins_records
    remote.close()


def test_the_filter_is_sent(tmp_path: Path, target: str, server: Scopes) -> None:
    """And what is not wanted keeps no records apart."""
    remote = load(tmp_path, target=target)
    requests = [a_record(tensors([n, n]), "y") for n in range(3)]

    outcomes(remote, requests, (), "named")

    assert [list(request.output_filter) for request in server.requests] == [["y"]]
    remote.close()


def test_a_batch_of_one_is_called_once_a_row(tmp_path: Path, target: str, server: Scopes) -> None:
    """As a local one is."""
    remote = load(tmp_path, target=target)

    assert answers(remote, "one_row", a_record(tensors([1, 1], [2, 2])))[0]["y"][1] == [4, 4]
    assert {tf.make_ndarray(r.inputs["x"]).shape for r in server.requests} == {(1, 2)}
    remote.close()


def test_a_matrix_is_no_batch(tmp_path: Path, target: str) -> None:
    """Without a batch dimension the tensors are whole, one record a call."""
    remote = load(tmp_path, target=target)
    requests = [a_record(tensors([n, n], [1, 1])) for n in range(2)]

    assert answers(remote, "matrix", *requests) == [
        {"y": [[2 * n, 2 * n], [2, 2]], "sum": 2 * n + 2} for n in range(2)
    ]
    remote.close()
