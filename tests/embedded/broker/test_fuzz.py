"""Spoilt requests, the same in every run, sent to the broker's process."""

import contextlib
import random

from kafka.protocol.metadata import MetadataRequest

from tests.support.kafka.kafka_requests import TOPICS, a_request, spoilt
from tests.support.processes.stack import raw_client, resident_bytes
from topicserve.embedded.kafka_server import KafkaServer

REQUESTS = 20_000
REQUESTS_A_CHECK = 1_000
GROWTH_BYTES = 48 << 20


def test_spoilt_requests_harm_nobody_else() -> None:
    """20,000 of them never stop the broker, make it grow, or disturb another connection."""
    rng = random.Random(4)
    question = MetadataRequest(topics=[], allow_auto_topic_creation=False)
    with (
        KafkaServer(auto_create_topics=False, retention_bytes=8 << 20) as server,
        raw_client(server.bootstrap_servers) as other,
    ):
        create = [MetadataRequest.MetadataRequestTopic(name=name) for name in TOPICS]
        other.ask(MetadataRequest(topics=create, allow_auto_topic_creation=True), 7)
        before = resident_bytes(server.pid)
        for number in range(REQUESTS):
            _send_spoilt(server.bootstrap_servers, rng)
            if number % REQUESTS_A_CHECK == 0:
                assert len(other.ask(question, 7).brokers) == 1

        assert len(other.ask(question, 7).brokers) == 1
        assert resident_bytes(server.pid) - before < GROWTH_BYTES
        assert server.said() == ""


def _send_spoilt(bootstrap_servers: str, rng: random.Random) -> None:
    """Send a good request and a spoilt one, and wait until the broker has had its say."""
    with raw_client(bootstrap_servers) as client:
        # The broker may have closed the connection for the first before the second is sent.
        with contextlib.suppress(ConnectionError):
            client.send(a_request(rng))
            client.send(spoilt(a_request(rng), rng))
        client.finish()
