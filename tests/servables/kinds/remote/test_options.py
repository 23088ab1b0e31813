"""Options of remote kinds are checked when the worker starts."""

import pytest

from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.kinds.options import read_options
from topicserve.servables.kinds.remote.options import RemoteOptions


@pytest.mark.parametrize(
    "target",
    [
        "triton:8001",
        "triton.models.svc.cluster.local:1",
        "127.0.0.1:65535",
        "[::1]:8001",
        "[fe80::1%eth0]:8001",
        "dns:///triton:8001",
        "dns://1.1.1.1/triton:8001",
        "ipv4:127.0.0.1:8001,127.0.0.2:8001",
        "ipv6:[::1]:8001",
        "unix:///run/triton.sock",
        "unix:triton.sock",
        "xds:///triton",
    ],
)
def test_a_target_is_what_grpc_resolves(target: str) -> None:
    """It is taken as it is."""
    assert read_options(RemoteOptions, {"target": target}, "remote").target == target


@pytest.mark.parametrize(
    "target",
    [
        "grpc://triton:8001",
        "http://triton:8001",
        "https://triton:8001/v2",
        "triton:8001/v2",
        "triton",
        "triton:",
        ":8001",
        "triton:0",
        "triton:65536",
        "triton:grpc",
        " triton:8001",
        "triton:8001 ",
        "tri ton:8001",
        "::1:8001",
        "[::1]",
        "dns:",
        "unix:/run/a b.sock\n",
    ],
)
def test_another_target_is_refused(target: str) -> None:
    """The error says what it must be."""
    with pytest.raises(InvalidArgumentError, match="`target` must be host:port"):
        read_options(RemoteOptions, {"target": target}, "remote")


def test_a_refused_target_shows_no_password() -> None:
    """It goes to the log and to the terminal."""
    with pytest.raises(InvalidArgumentError) as error:
        read_options(RemoteOptions, {"target": "grpc://me:hunter2@triton:8001"}, "remote")

    assert "hunter2" not in str(error.value)
