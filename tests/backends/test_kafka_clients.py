import pytest

from topicserve.backends.errors import BackendConfigError
from topicserve.backends.kafka_clients import open_broker

CLIENTS = ["kafka-python", "confluent"]


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    "servers",
    [
        *("[::1:9092", "::1:9092", "::1]:9092", "[::1]", "host", "h:abc", "h:99999", "h:0", "h:"),
        *(":9092", "a:1,b", "a:1 b:2", "", ",", "a/b:1"),
    ],
)
def test_what_is_no_address_is_refused_before_a_client_is_opened(client: str, servers: str) -> None:
    """It would say after some time that no broker answers."""
    with pytest.raises(BackendConfigError, match=r"bootstrap.servers must be host:port.* brackets"):
        open_broker(client, {"bootstrap.servers": servers})


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("servers", ["[::1]:9092", "a-b.c_d:1, 127.0.0.1:65535,", "[fe80::1%0]:1"])
def test_addresses_are_taken(client: str, servers: str) -> None:
    """Nothing is connected yet."""
    open_broker(client, {"bootstrap.servers": servers})
