import socket
from contextlib import ExitStack

import pytest

from topicserve.backends.kafka_clients import open_broker
from topicserve.embedded.kafka_server import KafkaServer

pytestmark = pytest.mark.servers

OPENED = 4
LIMIT_SECONDS = 8.0


def test_silent_brokers_do_not_use_up_the_time_to_open_a_client() -> None:
    """As machines that were lost do: connections stay, and nothing answers; the third does."""
    with ExitStack() as opened, KafkaServer() as server:
        silent = [opened.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in silent]
        servers = ",".join([*addresses, server.bootstrap_servers])

        for _ in range(OPENED):
            admin = open_broker("kafka-python", {"bootstrap.servers": servers}).admin()
            opened.callback(admin.close)
            assert admin.partitions("missing", LIMIT_SECONDS) is None
