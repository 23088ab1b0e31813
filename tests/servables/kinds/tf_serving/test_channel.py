"""Calls are tried again as often and as long as they may be."""

from collections.abc import Iterator
from traceback import format_exception

import grpc
import numpy as np
import pytest

from tests.servables.kinds.tf_serving.server import HalfPlusTwo, serving
from topicserve.protos.predict_pb2 import PredictRequest
from topicserve.protos.tensors import to_tensor_proto
from topicserve.servables.core.errors import UnavailableError
from topicserve.servables.kinds.tf_serving.channel import PredictionChannel
from topicserve.servables.kinds.tf_serving.options import TfServingOptions


class Pauses:
    """A clock that only pauses advance."""

    def __init__(self) -> None:
        self.now = 0.0
        self.taken: list[float] = []

    def clock(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.taken.append(seconds)
        self.now += seconds


@pytest.fixture
def model() -> HalfPlusTwo:
    """Return a model whose server is away for very long."""
    served = HalfPlusTwo()
    served.failures = [grpc.StatusCode.UNAVAILABLE] * 1000
    return served


@pytest.fixture
def target(model: HalfPlusTwo) -> Iterator[str]:
    """Yield where it is served."""
    with serving(model) as address:
        yield address


def request() -> PredictRequest:
    """Return a request that the model can answer."""
    made = PredictRequest()
    made.inputs["x"].CopyFrom(to_tensor_proto(np.ones((1, 2), np.float32)))
    return made


def test_pauses_double(target: str, model: HalfPlusTwo) -> None:
    """Each pause lies between half and all of what is twice the one before."""
    pauses = Pauses()
    options = TfServingOptions(target=target, max_attempts=5, retry_backoff_seconds=0.1)
    channel = PredictionChannel(options, pauses.clock, pauses.pause)

    with pytest.raises(UnavailableError):
        channel.predict(request())

    assert model.calls == 5
    limits = [0.1, 0.2, 0.4, 0.8]
    assert len(pauses.taken) == len(limits)
    assert all(
        limit / 2 <= taken <= limit for taken, limit in zip(pauses.taken, limits, strict=True)
    )
    channel.close()


def test_no_pause_goes_beyond_the_deadline(target: str) -> None:
    """What cannot be answered in time fails at once, as unavailable and not as too late."""
    pauses = Pauses()
    options = TfServingOptions(
        target=target, timeout_seconds=3, max_attempts=100, retry_backoff_seconds=0.1
    )
    channel = PredictionChannel(options, pauses.clock, pauses.pause)

    with pytest.raises(UnavailableError):
        channel.predict(request())

    assert 0 < sum(pauses.taken) < 3
    channel.close()


def test_closed_connection_is_not_tried_again(target: str, model: HalfPlusTwo) -> None:
    """Who closes it while a call pauses ends the call."""
    channel: PredictionChannel
    channel = PredictionChannel(TfServingOptions(target=target), pause=lambda _: channel.close())

    with pytest.raises(UnavailableError, match="is closed"):
        channel.predict(request())

    assert model.calls == 1


@pytest.mark.parametrize("scheme", ["", "dns:///"])
def test_no_error_shows_a_password_in_the_target(scheme: str) -> None:
    """GRPC's own words name the target, too; the errors become dead letters and log lines."""
    options = TfServingOptions(target=f"{scheme}user:hunter2@127.0.0.1:1", max_attempts=1)
    channel = PredictionChannel(options)

    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1") as caught:
        channel.predict(request())

    assert "hunter2" not in "".join(format_exception(caught.value))
    channel.close()
