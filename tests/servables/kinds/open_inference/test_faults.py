"""What a server does wrong is told apart from what is wrong with the inputs."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from tests.support.open_inference.server import (
    InferenceServer,
    echoing,
    halving,
    serving,
    tensors_of,
)
from tests.support.servables.remote_kinds import until_given_up
from tests.support.stages.records import ManualClock
from topicserve.servables.core.errors import (
    DeadlineExceededError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    ResourceExhaustedError,
    RowCountError,
    ServableError,
    UnavailableError,
    UnknownError,
)
from topicserve.servables.kinds.open_inference.channel import InferenceChannel
from topicserve.servables.kinds.open_inference.options import OpenInferenceOptions
from topicserve.servables.kinds.remote.careful_calls import CarefulCalls

Load = Callable[..., Any]
Status = grpc.StatusCode
X = {"x": np.array([[2, 4], [6, 8]], np.float32)}
ROW = {"x": np.array([[2, 4]], np.float32)}
Y = [[3, 4], [5, 6]]


def test_a_server_that_is_away_for_a_moment_is_tried_again(
    server: InferenceServer, target: str, load: Load
) -> None:
    """It costs no error."""
    remote = load(target, max_attempts=3, retry_backoff_seconds=0.001)
    server.failures = [(Status.UNAVAILABLE, "away")] * 2

    assert remote.predict(X)["y"].tolist() == Y
    assert server.calls == 3


def test_retries_are_bounded(server: InferenceServer, target: str, load: Load) -> None:
    """After the last attempt the error is the caller's, who may come back later."""
    remote = load(target, max_attempts=2, retry_backoff_seconds=0.001)
    server.failures = [(Status.UNAVAILABLE, "away")] * 5

    with pytest.raises(UnavailableError, match=f"server at {target}: UNAVAILABLE: away$"):
        remote.predict(X)
    assert server.calls == 2


def test_a_server_that_stops_and_comes_back_is_called_again(tmp_path: Path, load: Load) -> None:
    """At the same address, by the same connection."""
    target = f"unix:{tmp_path}/socket"
    first, second = echoing(("n", "INT64", [-1])), echoing(("n", "INT64", [-1]))
    inputs = {"n": np.array([1])}
    with serving(first, target):
        remote = load(target, retry_backoff_seconds=0.001, max_attempts=100, timeout_seconds=60)
        remote.predict(inputs)
    with serving(second, target):
        found = remote.predict(inputs)

    assert found["n"].tolist() == [1]
    assert (first.calls, second.calls) == (1, 1)


def test_a_slow_call_ends_at_its_deadline(server: InferenceServer, target: str, load: Load) -> None:
    """And may succeed later."""
    remote = load(target)
    # The load itself may take longer than that on a busy machine.
    hasty = InferenceChannel(OpenInferenceOptions(target=target, timeout_seconds=0.2))
    remote._service = hasty
    server.may_answer.clear()

    with pytest.raises(DeadlineExceededError) as error:
        remote.predict(X)

    assert error.value.retriable
    server.may_answer.set()
    hasty.close()


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (Status.INVALID_ARGUMENT, InvalidArgumentError),
        (Status.INTERNAL, InternalError),
        (Status.FAILED_PRECONDITION, FailedPreconditionError),
        (Status.UNKNOWN, UnknownError),
        (Status.NOT_FOUND, UnavailableError),
        (Status.UNIMPLEMENTED, UnavailableError),
        (Status.PERMISSION_DENIED, UnavailableError),
        (Status.UNAUTHENTICATED, UnavailableError),
        (Status.ABORTED, UnavailableError),
    ],
)
def test_errors_say_whose_fault_it_is(
    server: InferenceServer, target: str, load: Load, code: Any, kind: type[ServableError]
) -> None:
    """What the inputs cannot help is retriable, what they are at fault for is not."""
    remote = load(target, max_attempts=1)
    server.failures = [(code, "as told\nand more")]

    with pytest.raises(ServableError, match=f"{code.name}: as told$") as error:
        remote.predict(X)

    assert type(error.value) is kind


def test_a_call_without_room_is_halved_at_once(
    server: InferenceServer, target: str, load: Load
) -> None:
    """Callers see the answer alone."""
    remote = load(target)
    server.failures = [(Status.RESOURCE_EXHAUSTED, "Too many requests")]

    assert remote.predict(X)["y"].tolist() == Y
    assert [request.inputs[0].shape[0] for request in server.requests] == [1, 1]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Too many requests", UnavailableError),
        ("grpc: received message larger than max (9 vs. 4)", ResourceExhaustedError),
        ("gRPC message exceeds maximum size 4: 9", ResourceExhaustedError),
    ],
)
def test_a_row_without_room_waits(
    server: InferenceServer, target: str, load: Load, text: str, kind: Any
) -> None:
    """A message that is too large is too large each time."""
    remote = load(target)
    server.failures = [(Status.RESOURCE_EXHAUSTED, text)] * 3

    with pytest.raises(ServableError) as error:
        remote.predict(ROW)

    assert type(error.value) is kind


@pytest.mark.parametrize("where", ["server", "client"])
def test_a_message_that_is_too_large_is_sent_in_parts(load: Load, where: str) -> None:
    """Which it is on either side, by the words that gRPC has for it; a row is never divided."""
    options = {"grpc.max_send_message_length": 400} if where == "client" else {}
    server = halving(size=-1)
    narrow = {"x": np.ones((50, 2), np.float32)}
    with serving(server, max_message_bytes=400 if where == "server" else -1) as target:
        remote = load(target, channel_options=options)

        assert len(remote.predict(narrow)["y"]) == 50
        with pytest.raises(ResourceExhaustedError, match="larger than max"):
            remote.predict({"x": np.ones((1, 500), np.float32)})
        assert remote.predict(ROW)["y"].tolist() == [[3, 4]]

    assert [len(tensors_of(request)["x"]) for request in server.requests] == [25, 25, 1]


def test_calls_can_be_cancelled(server: InferenceServer, target: str, load: Load) -> None:
    """Those in progress and all later ones: what is called may be on its way out."""
    remote = load(target, timeout_seconds=600)
    server.may_answer.clear()
    errors = list[ServableError]()

    def predict() -> None:
        with pytest.raises(UnavailableError) as error:
            remote.predict(X)
        errors.append(error.value)

    calling = threading.Thread(target=predict)
    calling.start()
    assert server.was_called.wait(60)

    remote.cancel_calls()

    calling.join(60)
    assert "CANCELLED" in str(errors[0])
    with pytest.raises(UnavailableError, match="is closed"):
        remote.predict(X)


@pytest.mark.parametrize("refusal", [Status.UNAVAILABLE, Status.ABORTED, Status.NOT_FOUND])
def test_a_row_that_the_server_always_fails_on_is_given_up(
    server: InferenceServer, target: str, load: Load, refusal: Any
) -> None:
    """While it answers others; what it says stands in the error."""
    remote = load(target, max_attempts=1)
    remote.predict(ROW)
    clock = ManualClock()
    remote._careful = CarefulCalls(10.0, clock)
    server.refuses, server.refusal = lambda given: 6 in given["x"], refusal

    error = until_given_up(lambda: remote.predict(X), clock)

    assert str(error).startswith("failed 3 times, while the server answered other calls: ")
    assert str(error).endswith(f"{refusal.name}: refused")
    assert remote.predict(ROW)["y"].tolist() == [[3, 4]]


def no_outputs(response: Any) -> None:
    """Take the outputs away."""
    del response.outputs[:], response.raw_output_contents[:]


def rename(response: Any) -> None:
    """Give the output another name."""
    response.outputs[0].name = "z"


def fp64(response: Any) -> None:
    """Answer with doubles."""
    response.outputs[0].datatype = "FP64"
    response.raw_output_contents[0] *= 2


def wide(response: Any) -> None:
    """Answer with rows of four."""
    response.outputs[0].shape[1] = 4
    response.raw_output_contents[0] *= 2


def flat(response: Any) -> None:
    """Answer with numbers alone."""
    response.outputs[0].shape[:] = [4]


def one_row(response: Any) -> None:
    """Answer the first row alone."""
    response.outputs[0].shape[0] = 1
    response.raw_output_contents[0] = response.raw_output_contents[0][:8]


def cut(response: Any) -> None:
    """Cut the contents short."""
    response.raw_output_contents[0] = response.raw_output_contents[0][:-1]


def huge(response: Any) -> None:
    """Declare more elements than there is memory."""
    response.outputs[0].shape[:] = [2**40, 2**40]


def unknown(response: Any) -> None:
    """Answer with a datatype that the protocol does not have."""
    response.outputs[0].datatype = "FP8"


def twice(response: Any) -> None:
    """Give the output a second time."""
    response.outputs.add().CopyFrom(response.outputs[0])
    response.raw_output_contents.append(response.raw_output_contents[0])


def more_raw(response: Any) -> None:
    """Answer with contents that no output has."""
    response.raw_output_contents.append(b"")


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        (no_outputs, FailedPreconditionError, "gave no output 'y'"),
        (rename, FailedPreconditionError, "gave no output 'y'"),
        (fp64, FailedPreconditionError, "'y' is FP64; the model's metadata says FP32"),
        (wide, FailedPreconditionError, r"'y' has the shape \[2, 4\]; .* says \[\?, 2\]"),
        (flat, FailedPreconditionError, r"'y' has the shape \[4\]; .* says \[\?, 2\]"),
        (one_row, RowCountError, r"'y' has the shape \[1, 2\] for 2 rows"),
        (cut, InternalError, r"'y' cannot be read: has 15 bytes .* \[2, 2\] needs 16"),
        (huge, InternalError, "'y' cannot be read: shape .* is not a shape"),
        (unknown, InternalError, "'y' cannot be read: datatype 'FP8' is not one of"),
        (twice, InternalError, "gave the output 'y' twice"),
        (more_raw, InternalError, "2 raw contents are given for 1 tensors"),
    ],
    ids=lambda one: getattr(one, "__name__", None),
)
def test_an_answer_that_is_not_what_was_asked_for_is_refused(
    server: InferenceServer, target: str, load: Load, change: Any, kind: Any, says: str
) -> None:
    """The message says what is wrong with it; the next call is answered."""
    remote = load(target)
    server.change = change

    with pytest.raises(ServableError, match=says) as error:
        remote.predict(X)

    assert type(error.value) is kind
    server.change = lambda _: None
    assert remote.predict(X)["y"].tolist() == Y


def test_bytes_that_are_no_answer_are_refused(
    server: InferenceServer, target: str, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be parsed is the server's fault."""
    remote = load(target)
    answer = type("Noise", (), {"SerializeToString": lambda _: b"\xff" * 9})
    monkeypatch.setattr(server, "ModelInfer", lambda *_: answer())

    with pytest.raises(ServableError):
        remote.predict(X)
