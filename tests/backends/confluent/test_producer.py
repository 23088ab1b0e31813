from collections.abc import Iterator

import pytest

from tests.support.kafka.kafka_servers import BROKERS, Server, open_server
from tests.support.kafka.port import Port, numbered, numbers, send, unique
from topicserve.backends.kafka_clients import open_broker

pytestmark = pytest.mark.servers


@pytest.fixture(
    scope="module",
    params=[pytest.param(b, marks=[pytest.mark.kafka] * (b == "apache")) for b in BROKERS],
)
def creating_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Start a broker that creates the topics that are written to."""
    with open_server(request.param, auto_create_topics=True) as server:
        yield server


@pytest.fixture(params=["confluent", "kafka-python"])
def port(request: pytest.FixtureRequest, creating_server: Server) -> Iterator[Port]:
    """Give the port of a client on the broker: where topics are made, the two must not differ."""
    opened = Port(
        open_broker(request.param, {"bootstrap.servers": creating_server.bootstrap_servers})
    )
    yield opened
    opened.close()


def test_a_topic_is_created_by_sending(port: Port) -> None:
    """Asking for a topic that brokers may create makes it: no send is refused for its newness."""
    topic = unique("topic")

    errors = send(port.producer(), numbered(topic, 3, 0))

    assert errors == [None] * 3
    assert numbers(port.member(topic).read(3)) == [0, 1, 2]
