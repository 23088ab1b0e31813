from types import SimpleNamespace
from typing import Any

import pytest
from kafka import errors
from kafka.producer.sender import Sender
from kafka.producer.transaction_manager import TransactionManager

from topicserve.backends.kafka_python.mends import keep_requests


class AwayBroker:
    """The connections of a client whose broker went away."""

    def __init__(self) -> None:
        self.cluster = SimpleNamespace()

    def await_ready(self, node_id: object, timeout_ms: float) -> bool:
        raise errors.KafkaConnectionError(f"{node_id} is not ready after {timeout_ms} ms")


@pytest.mark.parametrize("mended", [True, False])
def test_a_request_waits_for_its_coordinator(*, mended: bool) -> None:
    """Without our mend kafka-python drops it; when that is mended there, ours can go."""
    manager = TransactionManager("worker-1")
    sender = Sender(
        AwayBroker(), None, SimpleNamespace(has_incomplete=False), transaction_manager=manager
    )
    client: Any = SimpleNamespace(_sender=sender)
    if mended:
        keep_requests(client)
    manager._transaction_coordinator = "coordinator-1"
    manager.initialize_transactions()

    sender._maybe_send_pending_request()

    waiting = [type(request).__name__ for *_, request in manager._pending_requests]
    assert ("InitProducerIdHandler" in waiting) == mended
    assert "FindCoordinatorHandler" in waiting
