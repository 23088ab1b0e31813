from typing import Any, cast

import pytest

from tests.support.stages.records import an_id
from topicserve.backends.in_flight import InFlight
from topicserve.backends.kafka_python.producer import KafkaPythonProducer
from topicserve.backends.kafka_python.producer_client import KafkaPythonProducerClient
from topicserve.wire.kafka_record import OutgoingRecord

LIMIT_SECONDS = 60.0
RECORD = OutgoingRecord("out", b"", an_id(1).encode(), [])


class Library:
    """kafka-python's producer, which is asked for transactional calls alone."""

    _transaction_manager = None

    def __init__(self) -> None:
        self.calls: list[str] = []

    def init_transactions(self) -> None:
        """Take the transactional id over."""
        self.calls.append("init_transactions")

    def abort_transaction(self) -> None:
        """Abort."""
        self.calls.append("abort_transaction")


class Clients:
    """The client of the moment; what was sent with one that is given up fails."""

    def __init__(self, in_flight: InFlight) -> None:
        self.libraries = [Library()]
        self._in_flight = in_flight
        self.pending: list[Any] = []

    def opened(self, timeout_seconds: float) -> Library:  # noqa: ARG002
        """Return the client."""
        return self.libraries[-1]

    def give_up(self) -> None:
        """Open another the next time."""
        self.libraries.append(Library())
        for pending_send in self.pending:
            pending_send.settle(0, None)

    def close(self, timeout_seconds: float) -> None:
        """Close nothing."""


@pytest.mark.parametrize("is_acknowledged", [True, False])
def test_an_abort_waits_for_no_request_that_no_broker_answers(is_acknowledged: bool) -> None:
    """A new client takes over then: the coordinator's own time for the transaction goes on."""
    in_flight = InFlight(10, 1000, 60)
    clients = Clients(in_flight)
    producer = KafkaPythonProducer(
        cast("KafkaPythonProducerClient", clients), in_flight, is_transactional=True
    )
    in_flight.begin_transaction()
    clients.pending.append(in_flight.admit([RECORD], lambda _: None, None, None))
    if is_acknowledged:
        clients.pending.pop().settle(0, None)
        assert in_flight.wait_empty(LIMIT_SECONDS)

    producer.abort_transaction(0.2)

    producer.close(0)
    calls = [library.calls for library in clients.libraries]
    assert calls == ([["abort_transaction"]] if is_acknowledged else [[], ["init_transactions"]])
