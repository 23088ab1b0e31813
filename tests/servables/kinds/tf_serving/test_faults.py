"""What a TF Serving has no room for, or always fails on, holds up nothing else."""

from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf

from tests.servables.kinds.tf_serving.server import HalfPlusTwo, serving
from tests.support.servables.remote_kinds import load_remote, until_given_up
from tests.support.stages.records import ManualClock
from topicserve.servables.core.errors import UnavailableError
from topicserve.servables.kinds.remote.careful_calls import CarefulCalls

Status = grpc.StatusCode
X = {"x": np.array([[2, 4], [6, 8]], np.float32)}
ROW = {"x": np.array([[2, 4]], np.float32)}


class Picky(HalfPlusTwo):
    """Fails on rows with a six."""

    def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        if 6 in tf.make_ndarray(request.inputs["x"]):
            context.abort(Status.UNAVAILABLE, "refused")
        return super().Predict(request, context)


def test_a_call_without_room_is_halved_and_a_row_waits(tmp_path: Path) -> None:
    """A busy server makes no dead letters."""
    model = HalfPlusTwo()
    with serving(model) as target:
        remote = load_remote("tf_serving", tmp_path, target=target)
        model.failures = [Status.RESOURCE_EXHAUSTED]
        assert remote.predict(X)["y"].tolist() == [[3, 4], [5, 6]]
        model.failures = [Status.RESOURCE_EXHAUSTED] * 3
        with pytest.raises(UnavailableError, match="RESOURCE_EXHAUSTED: as told"):
            remote.predict(ROW)
        remote.close()

    assert [len(tf.make_ndarray(one.inputs["x"])) for one in model.requests] == [1, 1]


def test_a_row_that_the_server_always_fails_on_is_given_up(tmp_path: Path) -> None:
    """While it answers others."""
    with serving(Picky()) as target:
        remote = load_remote("tf_serving", tmp_path, target=target, max_attempts=1)
        clock = ManualClock()
        remote._careful["serving_default"] = CarefulCalls(10.0, clock)
        error = until_given_up(lambda: remote.predict(X), clock)
        answer = remote.predict(ROW)
        remote.close()

    assert "failed 3 times" in str(error)
    assert answer["y"].tolist() == [[3, 4]]


def test_calls_can_be_cancelled(tmp_path: Path) -> None:
    """Later ones fail likewise: the model is on its way out."""
    with serving(HalfPlusTwo()) as target:
        remote = load_remote("tf_serving", tmp_path, target=target)
        remote.cancel_calls()

        with pytest.raises(UnavailableError, match="is closed"):
            remote.predict(X)
        remote.close()
