from collections.abc import Iterator

import pytest

from topicserve.embedded.kafka_server import KafkaServer


@pytest.fixture(scope="session")
def broker() -> Iterator[KafkaServer]:
    """Share one broker in memory; anyone who stops one takes an own one."""
    with KafkaServer() as server:
        yield server
