"""A server that hangs is left alone for most of the time."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tests.support.stages.records import ManualClock
from topicserve.servables.core.errors import ServableError
from topicserve.servables.kinds.remote import channel as channel_module
from topicserve.servables.kinds.remote.channel import RemoteChannel
from topicserve.servables.kinds.remote.options import RemoteOptions


class Failure(grpc.RpcError):  # type: ignore[misc]
    """What a call of gRPC raises."""

    def __init__(self, code: grpc.StatusCode) -> None:
        self._code = code

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return "as told"


class Remote:
    """A connection to a server that does as it is told, and what calls it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, timeout_seconds: float = 10.0) -> None:
        self.clock = ManualClock()
        self.code: grpc.StatusCode | None = None
        self.seconds = 0.0
        self.meanwhile: Callable[[], None] = lambda: None
        """Called while a call is made."""
        self.times: list[float] = []
        monkeypatch.setattr(channel_module, "_open", lambda _: self)
        options = RemoteOptions(target="server:1", timeout_seconds=timeout_seconds)
        self._method = RemoteChannel(options, "a server", self.clock).method(
            "/a", Timestamp, Timestamp
        )

    def unary_unary(self, *_: Any, **__: Any) -> Callable[..., str]:
        """Return the method of the server."""
        return self._answer

    def call(self) -> str:
        """Return the answer, or what became of the call."""
        try:
            return str(self._method(Timestamp()))
        except ServableError as error:
            return str(error)

    def _answer(self, _: object, timeout: float) -> str:  # noqa: ARG002
        self.times.append(self.clock())
        self.meanwhile()
        self.clock.advance(self.seconds)
        if self.code is not None:
            raise Failure(self.code)
        return "answer"


HANGS = grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize(("seconds", "pause"), [(0.5, 0), (1.0, 3.0), (10.0, 30.0), (60.0, 30.0)])
def test_calls_pause_after_two_that_hung(
    monkeypatch: pytest.MonkeyPatch, seconds: float, pause: float
) -> None:
    """One that is refused or fails sooner holds up no one."""
    remote = Remote(monkeypatch, seconds)
    remote.code, remote.seconds = HANGS, seconds
    for _ in range(2):
        remote.call()
    remote.seconds, began = 0.0, remote.clock()

    while len(remote.times) < 3:
        told = remote.call()
        assert "as told" in told
        remote.clock.advance(0.1)

    assert remote.times[2] - began == pytest.approx(pause, abs=0.2)


def test_others_fail_while_one_call_finds_out_whether_the_server_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They would only wait beside it; once it is answered, all are made."""
    remote = Remote(monkeypatch)
    remote.code, remote.seconds = HANGS, 10.0
    for _ in range(2):
        remote.call()
    remote.clock.advance(30)
    told: list[str] = []
    remote.meanwhile = lambda: told.append(remote.call())

    remote.call()

    assert ["it hangs, and is asked again" in text for text in told] == [True]
    remote.clock.advance(30)
    remote.code, remote.seconds = None, 0.0
    remote.meanwhile = lambda: None
    assert [remote.call(), remote.call()] == ["answer", "answer"]


@pytest.mark.parametrize("between", [None, grpc.StatusCode.INVALID_ARGUMENT])
def test_a_server_that_answers_between_does_not_hang(
    monkeypatch: pytest.MonkeyPatch, between: grpc.StatusCode | None
) -> None:
    """It fails on what it was asked, and another call shows that."""
    remote = Remote(monkeypatch)
    for _ in range(4):
        remote.code, remote.seconds = HANGS, 10.0
        remote.call()
        remote.code, remote.seconds = between, 0.0
        remote.call()

    assert len(remote.times) == 8
