"""The broker port's producer on kafka-python."""

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from kafka import errors

from topicserve.backends.bounded_calls import TransactionalCalls
from topicserve.backends.broker import Offsets, OnDelivery, Places
from topicserve.backends.errors import (
    BackendUnavailableError,
    DeliveryTimeoutError,
    RecordRefusedError,
    TransactionAbortedError,
)
from topicserve.backends.in_flight import InFlight, PendingSend
from topicserve.backends.kafka_python.bulk_append import BulkAppend, Listener, runs
from topicserve.backends.kafka_python.errors import refusal, translate
from topicserve.backends.kafka_python.offsets import to_client
from topicserve.backends.kafka_python.partitions import choose_partitions
from topicserve.backends.kafka_python.producer_client import KafkaPythonProducerClient
from topicserve.backends.kafka_python.transactions import (
    transactional,
    translate_transactional,
)
from topicserve.backends.kafka_python.workarounds.client import forget_aborted_offsets
from topicserve.backends.kafka_python.workarounds.nulls import has_nulls, send_with_nulls
from topicserve.backends.own_process import own_process
from topicserve.wire.kafka_record import OutgoingRecord

T = TypeVar("T")

_REPORT_SECONDS = 1.0
_OPEN_SECONDS = 5.0
_CLOSE_SECONDS = 2.0
# How long an abort waits for records that are still being written.
_SETTLE_SECONDS = 1.0


@own_process("Kafka producer")
class KafkaPythonProducer:
    """Sends lists of records. Connects with the first of them."""

    def __init__(
        self,
        client: KafkaPythonProducerClient,
        in_flight: InFlight,
        *,
        is_transactional: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._in_flight = in_flight
        self._is_transactional = is_transactional
        self._clock = clock
        # The client must be replaced: records timed out, or a transaction cannot be aborted.
        self._is_lost = threading.Event()
        self._calls = TransactionalCalls("kafka-python-transactions")
        self._closed = threading.Event()
        self._delivery_thread = threading.Thread(
            target=self._report, name="kafka-python-delivery", daemon=True
        )
        self._delivery_thread.start()

    def send(
        self,
        records: Sequence[OutgoingRecord],
        on_delivery: OnDelivery,
        timeout_seconds: float | None = None,
        places: Places | None = None,
    ) -> None:
        with self._client.borrow(_OPEN_SECONDS) as client:
            partitions = choose_partitions(client, self._client.network, records)
        pending_send = self._in_flight.admit(records, on_delivery, timeout_seconds, places)
        with self._client.network.held():
            self._send_all(client, pending_send, records, partitions)

    def flush(self, timeout_seconds: float) -> bool:
        return self._in_flight.wait_empty(timeout_seconds)

    def init_transactions(self, timeout_seconds: float) -> None:
        client = self._client.opened(timeout_seconds)
        self._call("init_transactions", client, client.init_transactions, timeout_seconds)

    def begin_transaction(self) -> None:
        client = self._client.opened(_OPEN_SECONDS)
        self._in_flight.begin_transaction()
        with transactional(client):
            client.begin_transaction()
            forget_aborted_offsets(client)

    def send_offsets_to_transaction(
        self, offsets: Offsets, group_metadata: Any, timeout_seconds: float
    ) -> None:
        client, timeout_seconds = self._written(timeout_seconds)
        theirs = to_client(offsets)
        self._call(
            "send_offsets_to_transaction",
            client,
            lambda: client.send_offsets_to_transaction(theirs, group_metadata),
            timeout_seconds,
        )

    def commit_transaction(self, timeout_seconds: float) -> None:
        client, timeout_seconds = self._written(timeout_seconds)
        self._call("commit_transaction", client, client.commit_transaction, timeout_seconds)

    def abort_transaction(self, timeout_seconds: float) -> None:
        # The client asks to abort when every request for the transaction has ended, by its timeout
        # if need be. The coordinator may have aborted by then, and refuse the client for good.
        in_time = self._in_flight.wait_reported(min(timeout_seconds, _SETTLE_SECONDS))
        is_lost = not in_time or self._is_lost.is_set()
        if self._calls.needs_takeover(self._client.give_up, is_lost=is_lost):
            self._take_over(timeout_seconds)
            return
        client = self._client.opened(timeout_seconds)
        self._call("abort_transaction", client, client.abort_transaction, timeout_seconds)

    def close(self, timeout_seconds: float) -> None:
        if self._closed.is_set():
            return
        flushed = self._in_flight.wait_empty(timeout_seconds)
        self._closed.set()
        self._in_flight.wake()
        self._delivery_thread.join(_CLOSE_SECONDS)
        self._client.close(_CLOSE_SECONDS if flushed else 0)

    def _report(self) -> None:
        while not self._closed.is_set():
            timed_out = self._in_flight.report(_REPORT_SECONDS)
            if self._is_transactional:
                if timed_out:
                    self._is_lost.set()
            elif timed_out:
                self._client.give_up()
        self._in_flight.give_up(BackendUnavailableError("the producer was closed before"))

    def _send_all(
        self,
        client: Any,
        pending_send: PendingSend,
        records: Sequence[OutgoingRecord],
        partitions: Sequence[int | None],
    ) -> None:
        bulk = BulkAppend(client)
        listener = Listener(
            pending_send.acknowledge, partial(self._not_written, client, pending_send)
        )
        for partition, own in runs(records, partitions):
            at = 0
            while at < len(own):
                if bulk.is_possible and partition is not None:
                    at = bulk.append(partition, own, at, listener)
                for index, record in own[at : at + 1]:
                    self._send_one(client, pending_send, index, record, partitions[index])
                at += 1

    def _send_one(
        self,
        client: Any,
        pending_send: PendingSend,
        index: int,
        record: OutgoingRecord,
        partition: int | None,
    ) -> None:
        headers = record.headers
        arguments = (
            record.topic,
            record.value,
            record.key,
            headers if type(headers) is list else list(headers),
            partition,
            record.timestamp_ms,
        )
        try:
            try:
                future = client.send(*arguments)
            except (TypeError, ValueError):
                if not has_nulls(record):
                    raise
                future = send_with_nulls(client, *arguments)
        except errors.KafkaError as error:
            self._failed(client, pending_send, index, error)
            return
        except Exception as error:
            pending_send.settle(index, refusal(error))
            return
        future.add_callback(pending_send.acknowledge, index)
        future.add_errback(self._not_written, client, pending_send, index)

    def _failed(self, client: Any, pending_send: PendingSend, index: int, error: Exception) -> None:
        if isinstance(error, errors.KafkaTimeoutError):
            self._lose(client)
            pending_send.settle(index, DeliveryTimeoutError(f"kafka-python: {error}"))
        elif not self._client.is_current(client):
            pending_send.settle(index, DeliveryTimeoutError("given up with others that timed out"))
        else:
            # The record's own fault is no fault of its transaction's, though it is told as both.
            own = translate(error)
            is_refused = isinstance(own, RecordRefusedError)
            pending_send.settle(
                index, own if is_refused else translate_transactional(client, error)
            )

    def _not_written(
        self, client: Any, pending_send: PendingSend, index: int, error: Exception
    ) -> None:
        own = translate(error)
        if isinstance(own, RecordRefusedError):
            # The sequence numbers of the batches behind it are wrong by now. An idempotent client
            # sends nothing more (3.0.12), and a transactional one cannot abort.
            self._lose(client)
            pending_send.settle(index, own)
        else:
            self._failed(client, pending_send, index, error)

    def _lose(self, client: Any) -> None:
        """Have a client replaced before its failures are told: what is sent again needs the next.

        What fails of one that was replaced before says nothing about the next.
        """
        if not self._is_transactional:
            self._client.give_up(client)
        elif self._client.is_current(client):
            self._is_lost.set()

    def _take_over(self, timeout_seconds: float) -> None:
        """Have a new client end what the old one left open."""
        self.init_transactions(timeout_seconds)
        # What the old client failed to send must not be counted against the next transaction.
        self._in_flight.wait_empty(timeout_seconds)
        self._is_lost.clear()
        self._calls.taken_over()

    def _written(self, timeout_seconds: float) -> tuple[Any, float]:
        """Wait until all of the transaction is written; return the client and the time left."""
        if self._is_lost.is_set():
            raise TransactionAbortedError("records of this transaction were not written")
        deadline = self._clock() + timeout_seconds
        self._in_flight.wait_written(timeout_seconds)
        left_seconds = max(deadline - self._clock(), 0)
        return self._client.opened(left_seconds), left_seconds

    def _call(self, name: str, client: Any, function: Callable[[], T], timeout_seconds: float) -> T:
        """Make a transactional call, which in kafka-python takes no time limit."""
        with transactional(client):
            return self._calls.call(name, function, timeout_seconds)
