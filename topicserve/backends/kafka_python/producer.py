"""The broker port's producer on kafka-python."""

import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import kafka
from kafka import errors
from kafka.structs import OffsetAndMetadata

from topicserve.backends.bounded_calls import BoundedCalls
from topicserve.backends.broker import Offsets, OnDelivery
from topicserve.backends.errors import (
    BackendError,
    BackendUnavailableError,
    DeliveryTimeoutError,
    UnknownTopicError,
)
from topicserve.backends.in_flight import InFlight, Shipment
from topicserve.backends.kafka_python.connection import Network
from topicserve.backends.kafka_python.errors import translated
from topicserve.backends.kafka_python.murmur2 import partitions_of
from topicserve.backends.kafka_python.transactions import (
    transactional,
    translate_transactional,
)
from topicserve.wire.kafka_record import OutgoingRecord

T = TypeVar("T")

_REPORT_SECONDS = 1.0
_OPEN_SECONDS = 10.0
_METADATA_SECONDS = 1.0
_CLOSE_SECONDS = 2.0


class KafkaPythonProducer:
    """Sends lists of records. Connects with the first of them."""

    def __init__(self, arguments: dict[str, Any], in_flight: InFlight) -> None:
        """`arguments` are KafkaProducer's."""
        self._arguments = arguments
        self._in_flight = in_flight
        self._network = Network()
        self._opening = threading.Lock()  # guards the three below
        self._client: Any = None
        self._delivery_thread: threading.Thread | None = None
        self._closed = False
        self._calls = BoundedCalls("kafka-python-transactions")

    def send(self, records: Sequence[OutgoingRecord], on_delivery: OnDelivery) -> None:
        client = self._opened(_OPEN_SECONDS)
        partitions = self._choose_partitions(client, records)
        shipment = self._in_flight.admit(records, on_delivery)
        for index, (record, partition) in enumerate(zip(records, partitions, strict=True)):
            try:
                future = client.send(
                    record.topic,
                    _value(record),
                    record.key,
                    _headers(record),
                    partition,
                    record.timestamp_ms,
                )
            except (errors.KafkaError, OSError, ValueError, TypeError, RuntimeError) as error:
                self._failed(shipment, index, error)
                continue
            future.add_callback(shipment.acknowledge, index)
            future.add_errback(self._failed, shipment, index)

    def flush(self, timeout_seconds: float) -> bool:
        return self._in_flight.wait_empty(timeout_seconds)

    def init_transactions(self, timeout_seconds: float) -> None:
        client = self._opened(timeout_seconds)
        self._call("init_transactions", client.init_transactions, timeout_seconds)

    def begin_transaction(self) -> None:
        client = self._opened(_OPEN_SECONDS)
        with transactional(client):
            client.begin_transaction()

    def send_offsets_to_transaction(
        self, offsets: Offsets, group_metadata: Any, timeout_seconds: float
    ) -> None:
        theirs = {
            kafka.TopicPartition(*partition): OffsetAndMetadata(offset, "", -1)
            for partition, offset in offsets.items()
        }
        self._call(
            "send_offsets_to_transaction",
            lambda: self._client.send_offsets_to_transaction(theirs, group_metadata),
            timeout_seconds,
        )

    def commit_transaction(self, timeout_seconds: float) -> None:
        self._call("commit_transaction", self._client.commit_transaction, timeout_seconds)

    def abort_transaction(self, timeout_seconds: float) -> None:
        self._call("abort_transaction", self._client.abort_transaction, timeout_seconds)

    def close(self, timeout_seconds: float) -> None:
        with self._opening:
            if self._closed:
                return
            self._closed = True
        if self._client is None or self._delivery_thread is None:
            return
        if not self._in_flight.wait_empty(timeout_seconds):
            # The client's own close would wait for what it could not flush, and never give it up.
            self._client._sender.force_close()  # noqa: SLF001 - see above
        with translated():
            self._calls.call(
                "close", lambda: self._client.close(_CLOSE_SECONDS), _CLOSE_SECONDS * 2
            )
        self._in_flight.wake()
        self._delivery_thread.join(_CLOSE_SECONDS)

    def _opened(self, timeout_seconds: float) -> Any:
        with self._opening:
            if self._closed:
                raise BackendError("the producer is closed")
            if self._client is None:
                self._client = self._network.open(
                    kafka.KafkaProducer, self._arguments, timeout_seconds
                )
                self._delivery_thread = threading.Thread(
                    target=self._report, name="kafka-python-delivery", daemon=True
                )
                self._delivery_thread.start()
            return self._client

    def _report(self) -> None:
        while not self._closed:
            self._in_flight.report(_REPORT_SECONDS)
        self._in_flight.give_up()

    def _failed(self, shipment: Shipment, index: int, error: Exception) -> None:
        if isinstance(error, errors.KafkaTimeoutError):
            shipment.settle(index, DeliveryTimeoutError(f"kafka-python: {error}"))
        else:
            shipment.settle(index, translate_transactional(self._client, error))

    def _choose_partitions(
        self, client: Any, records: Sequence[OutgoingRecord]
    ) -> list[int | None]:
        """Return each record's partition; None leaves it to the client's sticky partitioner.

        Raises UnknownTopicError, AuthenticationError and BackendUnavailableError for a topic.
        """
        partitions = [record.partition for record in records]
        by_topic: dict[str, list[int]] = {}
        for index, record in enumerate(records):
            by_topic.setdefault(record.topic, []).append(index)
        for topic, indices in by_topic.items():
            count = self._partition_count(client, topic)
            open_to_choice = [
                index
                for index in indices
                if partitions[index] is None and records[index].key is not None
            ]
            keys = [records[index].key or b"" for index in open_to_choice]
            for index, partition in zip(open_to_choice, partitions_of(keys, count), strict=True):
                partitions[index] = partition
        return partitions

    def _partition_count(self, client: Any, topic: str) -> int:
        try:
            with translated(errors.KafkaTimeoutError):
                return len(client.partitions_for(topic))
        except errors.KafkaTimeoutError as error:
            if self._brokers_answer():
                raise UnknownTopicError(
                    f'the topic "{topic}" does not exist: create it, or let the brokers do so '
                    "(auto.create.topics.enable)"
                ) from error
            raise BackendUnavailableError(f"kafka-python: {topic}: {error}") from error

    def _brokers_answer(self) -> bool:
        """Tell a broker that does not know a topic from one that does not answer."""
        answered = threading.Event()
        update = self._network.cluster.request_update()
        update.add_both(lambda _: answered.set())
        self._network.wake()
        return answered.wait(_METADATA_SECONDS) and bool(update.succeeded())

    def _call(self, name: str, function: Callable[[], T], timeout_seconds: float) -> T:
        """Make a transactional call, which in kafka-python takes no time limit."""
        with transactional(self._client):
            return self._calls.call(name, function, timeout_seconds)


def _headers(record: OutgoingRecord) -> list[tuple[str, bytes]]:
    # kafka-python refuses null header values, though it reads them.
    return [(name, value if value is not None else b"") for name, value in record.headers]


def _value(record: OutgoingRecord) -> bytes | None:
    # kafka-python refuses a record with neither key nor value, which Kafka allows.
    return b"" if record.key is None and record.value is None else record.value
