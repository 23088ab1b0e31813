"""A server that is replaced by one with another signature costs no record."""

import threading
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest

from tests.support.open_inference.server import InferenceServer, halving
from topicserve.servables.core.errors import InvalidArgumentError, UnavailableError

Load = Callable[..., Any]
TWO, THREE = ({"x": np.ones((1, size), np.float32)} for size in (2, 3))
REFUSED = (grpc.StatusCode.INVALID_ARGUMENT, "unexpected shape")


def replace(server: InferenceServer) -> None:
    """Let it serve a model of rows of three."""
    other = halving(size=3)
    server.inputs, server.outputs = other.inputs, other.outputs


def row_size(remote: Any) -> Any:
    """Return how many numbers a row has by the signature."""
    return remote.signatures["serving_default"].inputs["x"].shape[0]


def test_a_refusal_by_another_signature_is_tried_again(
    server: InferenceServer, target: str, load: Load
) -> None:
    """The error asks the caller to come back, with inputs for the signature of now."""
    remote = load(target)
    replace(server)
    server.failures = [REFUSED]

    with pytest.raises(
        UnavailableError, match=r"another signature of model 'half_plus_two' now: .*un"
    ):
        remote.predict(TWO)

    assert row_size(remote) == 3
    assert remote.predict(THREE)["y"].tolist() == [[2.5] * 3]


def test_inputs_for_the_new_signature_find_it(
    server: InferenceServer, target: str, load: Load
) -> None:
    """Those that do not fit what is known are a reason to ask."""
    remote = load(target)
    replace(server)

    with pytest.raises(UnavailableError, match="another signature"):
        remote.predict(THREE)

    assert remote.predict(THREE)["y"].tolist() == [[2.5] * 3]


def test_answers_of_another_signature_find_it(
    server: InferenceServer, target: str, load: Load
) -> None:
    """An output that is not the declared one is looked into, too."""
    remote = load(target)
    server.outputs = [("z", "FP32", [-1, 2])]
    server.change = lambda response: setattr(response.outputs[0], "name", "z")
    server.failures = [REFUSED]

    with pytest.raises(UnavailableError, match="another signature"):
        remote.predict(TWO)
    assert sorted(remote.signatures["serving_default"].outputs) == ["z"]


def test_a_refusal_of_the_inputs_stays_one(
    server: InferenceServer, target: str, load: Load
) -> None:
    """Where the signature is the same."""
    remote = load(target)
    server.failures = [REFUSED]

    with pytest.raises(InvalidArgumentError, match="unexpected shape"):
        remote.predict(TWO)


def test_a_refusal_by_a_model_that_is_not_ready_is_tried_again(
    server: InferenceServer, target: str, load: Load
) -> None:
    """MLServer says INVALID_ARGUMENT of a model that it is still loading."""
    remote = load(target)
    server.failures, server.is_model_ready = [REFUSED], False

    with pytest.raises(UnavailableError, match="is not ready"):
        remote.predict(TWO)


def test_a_signature_that_cannot_be_read_makes_records_wait(
    server: InferenceServer, target: str, load: Load
) -> None:
    """It is the server's fault, not theirs."""
    remote = load(target)
    server.failures, server.inputs = [REFUSED], [("x", "FP8", [-1])]

    with pytest.raises(UnavailableError, match="'FP8' is not one of"):
        remote.predict(TWO)


def test_inputs_for_the_old_signature_are_tried_again_for_a_while(
    server: InferenceServer, target: str, load: Load
) -> None:
    """A batch may have been made before another one found the change; later it is the record's."""
    seconds = 0.0
    remote = load(target, timeout_seconds=20)
    remote._current._clock = lambda: seconds
    replace(server)
    remote._current.refresh()

    seconds = 19.0
    with pytest.raises(UnavailableError, match=r"another signature .* must have the shape \[3\]"):
        remote.predict(TWO)
    seconds = 20.0
    with pytest.raises(InvalidArgumentError, match=r"must have the shape \[3\]"):
        remote.predict(TWO)


def test_a_server_that_was_away_is_asked_before_anything_else(
    server: InferenceServer, target: str, load: Load
) -> None:
    """Records that came meanwhile may fit the model that comes back alone."""
    remote = load(target, max_attempts=1)
    server.failures = [(grpc.StatusCode.UNAVAILABLE, "away")]

    with pytest.raises(UnavailableError):
        remote.predict(TWO)
    server.is_model_ready = False
    with pytest.raises(UnavailableError, match="is not ready"):
        row_size(remote)
    replace(server)
    server.is_model_ready = True

    assert row_size(remote) == 3
    server.asked.clear()
    assert (row_size(remote), server.asked) == (3, [])


def test_the_server_is_asked_at_intervals(server: InferenceServer, target: str, load: Load) -> None:
    """So records of the new signature alone are not refused for good."""
    remote = load(target, metadata_interval_seconds=0.01)

    replace(server)
    server.until_asked(6)  # the second question that begins after this has noted what the first was

    assert row_size(remote) == 3


def test_a_model_that_is_not_ready_changes_nothing(
    server: InferenceServer, target: str, load: Load
) -> None:
    """The signature stays what it was, and is asked for again."""
    remote = load(target, metadata_interval_seconds=0.01)
    server.is_model_ready = False

    server.until_asked(3)
    before = remote._current.declared.signature.inputs["x"].shape[0]
    replace(server)
    server.is_model_ready = True
    server.until_asked(6)

    assert (before, row_size(remote)) == (2, 3)


def test_a_closed_model_asks_no_more(target: str, load: Load) -> None:
    """Its thread ends."""
    known = set(threading.enumerate())
    remote = load(target, metadata_interval_seconds=0.01)
    (watch,) = (one for one in set(threading.enumerate()) - known if one.name == "model-metadata")

    remote._current.close()

    watch.join(timeout=120)
    assert not watch.is_alive()
