from collections.abc import Iterator
from typing import Any

import pytest

from topicserve.backends.errors import BackendUnavailableError
from topicserve.backends.kafka_python.partitions import choose_partitions
from topicserve.backends.kafka_python.producer_client import KafkaPythonProducerClient
from topicserve.embedded.kafka_server import KafkaServer
from topicserve.wire.kafka_record import OutgoingRecord

pytestmark = pytest.mark.servers

LIMIT_SECONDS = 30.0


@pytest.fixture
def producer() -> Iterator[KafkaPythonProducerClient]:
    """Return a client that would wait for a topic for longer than any test."""
    with KafkaServer(auto_create_topics=False) as server:
        arguments: dict[str, Any] = {
            "bootstrap_servers": server.bootstrap_servers,
            "max_block_ms": 600_000,
        }
        producer = KafkaPythonProducerClient(arguments)
        yield producer
        producer.close(0)


def test_what_fails_of_a_client_that_was_replaced_does_not_replace_the_next(
    producer: KafkaPythonProducerClient,
) -> None:
    """Its own records would fail with it, and be sent twice."""
    first = producer.opened(LIMIT_SECONDS)
    producer.give_up(first)
    second = producer.opened(LIMIT_SECONDS)

    producer.give_up(first)

    assert second is not first
    assert producer.opened(LIMIT_SECONDS) is second
    producer.give_up()
    assert not producer.is_current(second)


def test_no_topic_is_waited_for_with_a_client_that_was_given_up(
    producer: KafkaPythonProducerClient,
) -> None:
    """No one answers it any more: who sends asks the next one at once."""
    record = OutgoingRecord("unknown", b"key", b"value", [])

    def send() -> None:
        with producer.borrow(LIMIT_SECONDS) as client:
            producer.give_up()
            choose_partitions(client, producer.network, [record])

    with pytest.raises(BackendUnavailableError):
        send()
