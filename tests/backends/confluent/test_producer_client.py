"""A librdkafka producer is kept for as long as it is used."""

import threading
import weakref
from typing import Any

import pytest

from topicserve.backends.confluent.producer import ConfluentProducer
from topicserve.backends.errors import BackendError
from topicserve.backends.in_flight import InFlight

LIMIT_SECONDS = 10.0


class FakeClient:
    """Does nothing, and says what it was asked for."""

    def __init__(self, calls: list[str]) -> None:
        self._calls = calls
        self._polled = threading.Event()

    def poll(self, timeout_seconds: float) -> None:
        self._polled.wait(timeout_seconds)

    def purge(self) -> None:
        self._calls.append("purge")

    def flush(self, timeout_seconds: float) -> None:  # noqa: ARG002
        self._calls.append("flush")


def test_a_closed_producer_lets_its_client_go() -> None:
    """It would ask brokers for metadata until the producer is collected."""
    calls: list[str] = []
    gone = threading.Event()
    held: list[Any] = []

    def open_client(_: Any) -> Any:
        client = FakeClient(calls)
        held.append(weakref.ref(client, lambda _: gone.set()))
        return client

    producer = ConfluentProducer(open_client, InFlight(10, 1000, 1.0))

    producer.close(1.0)

    assert gone.wait(LIMIT_SECONDS)
    assert calls == ["purge", "flush"]
    with pytest.raises(BackendError, match="closed"):
        producer.send([], lambda _: None)
    with pytest.raises(BackendError, match="closed"):
        producer.begin_transaction()
