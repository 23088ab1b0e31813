"""Models of a remote TF Serving predict as local ones do, and its failures are told apart."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf

from tests.servables.kinds.tf_serving.server import HalfPlusTwo, serving, tensor_info
from tests.support.servables.kind_context import ServablesInMemory
from tests.support.servables.remote_kinds import CLOSED_PORT, LATEST, load_remote, remote_loaders
from topicserve.servables.core.errors import (
    DeadlineExceededError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    ServableError,
    UnavailableError,
)
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.kinds.servable import Signature, TensorSpec
from topicserve.servables.kinds.tf_serving import make_adapter
from topicserve.servables.kinds.tf_serving.channel import PredictionChannel
from topicserve.servables.kinds.tf_serving.options import TfServingOptions

FLOAT32, STRING = np.dtype(np.float32), np.dtype(object)
X = {"x": np.array([[2, 4], [6, 8]], np.float32)}


@pytest.fixture
def model() -> HalfPlusTwo:
    """Return what is served."""
    return HalfPlusTwo()


@pytest.fixture
def target(model: HalfPlusTwo) -> Iterator[str]:
    """Yield where it is served."""
    with serving(model) as address:
        yield address


loaders = partial(remote_loaders, "tf_serving")
load = partial(load_remote, "tf_serving")


def test_remote_model_predicts(tmp_path: Path, target: str) -> None:
    """Columns go there and come back, by the signature that the remote model has."""
    remote = load(tmp_path, target=target)

    assert remote.signatures["serving_default"] == Signature(
        {"x": TensorSpec(FLOAT32, (2,))}, {"y": TensorSpec(FLOAT32, (2,))}
    )
    assert remote.predict(X)["y"].tolist() == [[3, 4], [5, 6]]
    assert remote.predict({"text": np.array([b"a"], object)}, "echo")["text"].tolist() == [b"a"]
    remote.close()


def test_signatures_not_about_tensors_are_left_out(tmp_path: Path, target: str) -> None:
    """What columns cannot feed is not offered."""
    remote = load(tmp_path, target=target)

    assert sorted(remote.signatures) == ["classify", "echo", "scaled", "serving_default"]
    with pytest.raises(
        InvalidArgumentError, match="no signature 'sparse'; known: classify, echo, scaled, serv"
    ):
        remote.predict(X, "sparse")
    remote.close()


def test_examples_and_defaults_are_seen(tmp_path: Path, target: str, model: HalfPlusTwo) -> None:
    """Rows may be features of any name, and an input left out is not sent: TF Serving fills it."""
    remote = load(tmp_path, target=target)

    assert remote.signatures["classify"].features == {}
    assert remote.signatures["serving_default"].features is None
    assert remote.signatures["scaled"].defaults["scale"].tolist() == [2]
    remote.predict(X, "scaled")
    assert sorted(model.requests[-1].inputs) == ["x"]
    remote.close()


@pytest.mark.parametrize(
    ("more", "version", "label"),
    [({}, None, ""), ({"version": 7}, 7, ""), ({"version_label": "a"}, None, "a")],
)
def test_version_file_names_the_remote_model(
    tmp_path: Path, target: str, model: HalfPlusTwo, more: Any, version: Any, label: str
) -> None:
    """The request says which model, version or label and signature it is for."""
    remote = load(tmp_path, LATEST | more, target=target)

    remote.predict(X)

    spec = model.requests[0].model_spec
    assert (spec.name, spec.signature_name) == ("half_plus_two", "serving_default")
    assert (spec.version.value if spec.HasField("version") else None) == version
    assert spec.version_label == label
    remote.close()


def test_metadata_uid_is_sent_where_it_is_wanted(
    tmp_path: Path, target: str, model: HalfPlusTwo
) -> None:
    """A server that reads `metadata_uid` gets it, any other never sees it."""
    uid = {"metadata_uid": np.array([b"1", b"2"], object)}
    (tmp_path / "without").mkdir()
    (tmp_path / "with").mkdir()
    without = load(tmp_path / "without", target=target)
    with_uid = load(tmp_path / "with", target=target, send_metadata_uid=True)

    without.predict(X | uid)
    with_uid.predict(X | uid)
    with_uid.predict(X)

    assert with_uid.signatures["echo"].inputs["metadata_uid"] == TensorSpec(STRING, ())
    sent = [dict(request.inputs) for request in model.requests]
    assert [sorted(inputs) for inputs in sent] == [["x"], ["metadata_uid", "x"], ["x"]]
    assert tf.make_ndarray(sent[1]["metadata_uid"]).tolist() == [b"1", b"2"]
    without.close()
    with_uid.close()


def test_unavailable_server_is_tried_again(tmp_path: Path, target: str, model: HalfPlusTwo) -> None:
    """A server that is away for a moment costs no error."""
    remote = load(tmp_path, target=target, max_attempts=3, retry_backoff_seconds=0.001)
    model.failures = [grpc.StatusCode.UNAVAILABLE] * 2
    model.calls = 0

    assert remote.predict(X)["y"].tolist() == [[3, 4], [5, 6]]
    assert model.calls == 3
    remote.close()


def test_retries_are_bounded(tmp_path: Path, target: str, model: HalfPlusTwo) -> None:
    """After the last attempt the error is the caller's, who may come back later."""
    remote = load(tmp_path, target=target, max_attempts=2, retry_backoff_seconds=0.001)
    model.failures = [grpc.StatusCode.UNAVAILABLE] * 5
    model.calls = 0

    with pytest.raises(UnavailableError, match=f"TF Serving at {target}: UNAVAILABLE: as told$"):
        remote.predict(X)
    assert model.calls == 2
    remote.close()


def test_call_ends_at_its_deadline(tmp_path: Path, target: str, model: HalfPlusTwo) -> None:
    """A server that does not answer keeps no one longer than the time that is given."""
    remote = load(tmp_path, target=target)
    # The load itself may take longer than that on a busy machine.
    hasty = PredictionChannel(TfServingOptions(target=target, timeout_seconds=0.2))
    remote._service = hasty
    model.may_answer.clear()

    with pytest.raises(DeadlineExceededError) as error:
        remote.predict(X)

    assert error.value.retriable
    model.may_answer.set()
    hasty.close()
    remote.close()


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidArgumentError),
        (grpc.StatusCode.INTERNAL, InternalError),
        (grpc.StatusCode.FAILED_PRECONDITION, FailedPreconditionError),
        (grpc.StatusCode.NOT_FOUND, UnavailableError),
        (grpc.StatusCode.PERMISSION_DENIED, UnavailableError),
        (grpc.StatusCode.UNAUTHENTICATED, UnavailableError),
        (grpc.StatusCode.UNIMPLEMENTED, UnavailableError),
        (grpc.StatusCode.ABORTED, UnavailableError),
    ],
)
def test_errors_say_whose_fault_it_is(
    tmp_path: Path,
    target: str,
    model: HalfPlusTwo,
    code: grpc.StatusCode,
    kind: type[ServableError],
) -> None:
    """What the inputs cannot help is retriable, what they are at fault for is not."""
    remote = load(tmp_path, target=target)
    model.failures = [code]

    with pytest.raises(kind, match=f"{code.name}: as told$") as error:
        remote.predict(X)

    assert type(error.value) is kind
    remote.close()


def test_load_waits_for_the_server(tmp_path: Path) -> None:
    """A version whose server is away is not available; the core tries its load again."""
    with pytest.raises(UnavailableError, match=f"TF Serving at {CLOSED_PORT}"):
        load(tmp_path, target=CLOSED_PORT, max_attempts=1)


def test_output_of_other_rows_is_refused(tmp_path: Path, target: str, model: HalfPlusTwo) -> None:
    """Rows that do not match the input cannot be told apart."""
    remote = load(tmp_path, target=target)
    model.answered_rows = slice(1)

    with pytest.raises(FailedPreconditionError, match=r"'y' has the shape \[1, 2\] for 2 rows"):
        remote.predict(X)
    remote.close()


def test_signatures_are_asked_for_by_each_load(
    tmp_path: Path, target: str, model: HalfPlusTwo
) -> None:
    """And then no more: a version that is loaded keeps those that it has."""
    remote = load(tmp_path, target=target)
    model.signatures["serving_default"].inputs["x"].tensor_shape.dim[1].size = 3

    assert remote.predict(X)["y"].tolist() == [[3, 4], [5, 6]]
    assert remote.signatures["serving_default"].inputs["x"].shape == (2,)
    again = load(tmp_path / "again", target=target)
    assert again.signatures["serving_default"].inputs["x"].shape == (3,)
    remote.close()
    again.close()


def test_answers_are_not_compared_with_the_signature(
    tmp_path: Path, target: str, model: HalfPlusTwo
) -> None:
    """The server's model may have been replaced by one with other outputs."""
    declared = tensor_info(tf.float64, [None, 1])
    model.signatures["serving_default"].outputs["y"].CopyFrom(declared)
    remote = load(tmp_path, target=target)

    answered = remote.predict(X)["y"]

    assert remote.signatures["serving_default"].outputs["y"].dtype == np.float64
    assert (answered.dtype, answered.shape) == (np.float32, (2, 2))
    remote.close()


def test_version_file_at_fault_is_named(tmp_path: Path) -> None:
    """A file that names no model says so, before anybody is called."""
    for number, (content, problem) in enumerate(
        [
            ({}, "`model_name`"),
            (LATEST | {"version": 1, "version_label": "a"}, "not both"),
            (LATEST | {"versoin": 1}, "`versoin`"),
        ]
    ):
        (tmp_path / str(number)).mkdir()
        with pytest.raises(InvalidArgumentError, match=r"tf_serving\.json: .*" + problem):
            load(tmp_path / str(number), content, target=CLOSED_PORT)
    (tmp_path / "missing").mkdir()
    with pytest.raises(NotFoundError, match=r"other\.json: there is no such file"):
        load(tmp_path / "missing", target=CLOSED_PORT, file="other.json")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "missing required field `target`"),
        ({"target": CLOSED_PORT, "timeout_seconds": 0}, "`timeout_seconds` must be above 0"),
        ({"target": CLOSED_PORT, "max_attempts": 0}, "`max_attempts`"),
        ({"target": CLOSED_PORT, "tls": {"private_key": "k"}}, "belong together"),
        ({"target": CLOSED_PORT, "deadline": 1}, "there is no `deadline`; known are: target"),
    ],
)
def test_bad_option_is_named(options: dict[str, object], problem: str) -> None:
    """An option that is wrong says so before anybody is called."""
    with pytest.raises(InvalidArgumentError, match=problem):
        make_adapter(options, ServablesInMemory())


def test_missing_certificate_is_named(tmp_path: Path) -> None:
    """TLS without its file does not fall back to anything."""
    with pytest.raises(InvalidArgumentError, match=r"tls: .*nowhere\.pem"):
        load(tmp_path, target=CLOSED_PORT, tls={"root_certificates": "nowhere.pem"})


def test_versions_share_one_connection(tmp_path: Path, target: str) -> None:
    """All servables of an adapter call through one channel, which the last unload closes."""
    one, two = loaders(tmp_path, LATEST, LATEST | {"version": 2}, target=target)
    for number, loader in enumerate((one, two), start=1):
        loader.load_with_id(ServableId("remote", number))
    first, second = one.servable, two.servable

    assert first._service is second._service
    one.unload()
    assert second.predict(X)["y"].tolist() == [[3, 4], [5, 6]]
    two.unload()
    with pytest.raises(UnavailableError, match="is closed"):
        second.predict(X)
