"""The broker port's producer on confluent-kafka."""

import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from topicserve.backends.bounded_calls import TransactionalCalls
from topicserve.backends.broker import Offsets, OnDelivery, Places
from topicserve.backends.confluent.batch_limit import BatchLimit, is_broker_refusal
from topicserve.backends.confluent.delivery_reports import (
    Callback,
    DeliveryReports,
    Translate,
    translated_report,
)
from topicserve.backends.confluent.errors import refusal, translate, translated
from topicserve.backends.confluent.held_sends import SENT_AT_ONCE, HeldSends
from topicserve.backends.confluent.offsets import to_client
from topicserve.backends.confluent.producer_client import ConfluentProducerClient, OpenClient
from topicserve.backends.errors import (
    AuthenticationError,
    BackendConfigError,
    BackendError,
    BackendUnavailableError,
    FencedError,
    TransactionAbortedError,
    UnknownTopicError,
)
from topicserve.backends.in_flight import InFlight, PendingSend
from topicserve.backends.own_process import own_process
from topicserve.wire.kafka_record import OutgoingRecord

# librdkafka's word for no limit of its own: not all of its calls keep to one, and none goes on
# where it was given up if something else is asked for next. `TransactionalCalls` has the limit.
_UNLIMITED = -1
_CLOSE_SECONDS = 2.0
# How long an abort waits for records that are still being written.
_SETTLE_SECONDS = 1.0
# How long `send` waits for a topic that is new to it.
_TOPIC_SECONDS = 5.0
_TOPIC_STEP_SECONDS = 1.0
_TOPIC_RETRY_SECONDS = 0.05


@own_process("Kafka producer")
class ConfluentProducer:
    """Sends lists of records; what librdkafka reports is counted on the delivery thread."""

    def __init__(
        self,
        open_client: OpenClient,
        in_flight: InFlight,
        clock: Callable[[], float] = time.monotonic,
        batches: BatchLimit | None = None,
        *,
        is_idempotent: bool = True,
    ) -> None:
        """Open the client. One that is not idempotent has nothing held back from it."""
        self._in_flight = in_flight
        self._batches = batches or BatchLimit({})
        self._reports = DeliveryReports()
        self._clock = clock
        # Why the client can do no more: it was fenced, or is refused.
        self._fatal: BackendError | None = None
        self._client = ConfluentProducerClient(open_client, self._on_error)
        self._calls = TransactionalCalls("confluent-transactions")
        self._held = HeldSends(self._produce, in_flight, clock)
        self._partitions: dict[str, int] = {}
        """Of each topic that is known."""
        self._sent_at_once: float = SENT_AT_ONCE if is_idempotent else math.inf
        self._is_cut_off = False
        self._is_transactional = False
        # In a transaction, a client whose batch was refused goes on with wrong sequence numbers,
        # and may end in a state in which it takes no record (librdkafka's issue 3575).
        self._is_spoilt = False
        self._closed = threading.Event()
        self._delivery_thread = threading.Thread(
            target=self._report, name="confluent-delivery", daemon=True
        )
        self._delivery_thread.start()

    def send(
        self,
        records: Sequence[OutgoingRecord],
        on_delivery: OnDelivery,
        timeout_seconds: float | None = None,
        places: Places | None = None,
    ) -> None:
        self._raise_fatal()
        topics = {record.topic for record in records}
        for topic in topics - self._partitions.keys():
            self._check_topic(topic)
        pending_send = self._in_flight.admit(records, on_delivery, timeout_seconds, places)
        if records:
            few = self._sent_at_once * sum(self._partitions[topic] for topic in topics)
            self._held.add(records, pending_send, few)

    def _produce(self, records: Sequence[OutgoingRecord], pending_send: PendingSend) -> None:
        translate = self._translate_for(self._batches.max_bytes)
        self._reports.begin()
        try:
            self._produce_each(records, self._reports.open(pending_send, translate))
        finally:
            self._reports.end()

    def _produce_each(
        self, records: Sequence[OutgoingRecord], callbacks: Sequence[Callback]
    ) -> None:
        try:
            produce = self._client.current.produce
        except BackendError as error:  # it was closed meanwhile
            for fail in callbacks:
                fail(error, None)
            return
        for record, fail in zip(records, callbacks, strict=True):
            partition, headers = record.partition, record.headers
            try:
                produce(
                    record.topic,
                    record.value,
                    record.key,
                    -1 if partition is None else partition,
                    fail,
                    None,
                    record.timestamp_ms or 0,
                    headers if type(headers) is list else list(headers),
                )
            except KafkaException as error:
                fail(error.args[0], None)
            except Exception as error:
                fail(refusal(error), None)

    def _translate_for(self, max_bytes: int) -> Translate:
        """Return how errors are understood of records in batches of at most that size."""

        def understood(error: KafkaError | BackendError, message: Any) -> BackendError:
            known = translated_report(error, message)
            if is_broker_refusal(error, message):
                self._is_spoilt = True
                return self._batches.refusal(known, message, max_bytes)
            if self._is_transactional and _is_wrong_state(error):
                self._is_spoilt = True
                return TransactionAbortedError(str(known))
            return known

        return understood

    def flush(self, timeout_seconds: float) -> bool:
        return self._in_flight.wait_empty(timeout_seconds)

    def init_transactions(self, timeout_seconds: float) -> None:
        client = self._client.current
        self._is_transactional = True
        self._call(
            "init_transactions", lambda: client.init_transactions(_UNLIMITED), timeout_seconds
        )

    def begin_transaction(self) -> None:
        self._in_flight.begin_transaction()
        with translated():
            self._client.current.begin_transaction()

    def send_offsets_to_transaction(
        self, offsets: Offsets, group_metadata: Any, timeout_seconds: float
    ) -> None:
        timeout_seconds = self._wait_written(timeout_seconds)
        theirs = to_client(offsets)
        client = self._client.current
        self._call(
            "send_offsets_to_transaction",
            lambda: client.send_offsets_to_transaction(theirs, group_metadata, _UNLIMITED),
            timeout_seconds,
        )

    def commit_transaction(self, timeout_seconds: float) -> None:
        timeout_seconds = self._wait_written(timeout_seconds)
        client = self._client.current
        self._call(
            "commit_transaction", lambda: client.commit_transaction(_UNLIMITED), timeout_seconds
        )

    def abort_transaction(self, timeout_seconds: float) -> None:
        # What is held is this transaction's: it must not be written in the next.
        self._held.drop(TransactionAbortedError("its transaction was aborted before it was sent"))
        # Aborted while partitions are being added to the transaction, librdkafka may ask the broker
        # to end what it has not begun, and takes the answer (INVALID_TXN_STATE) for fatal.
        in_time = self._in_flight.wait_reported(min(timeout_seconds, _SETTLE_SECONDS))
        is_lost = not in_time or self._is_cut_off or self._is_spoilt
        if self._calls.needs_takeover(self._give_up, is_lost=is_lost):
            self._take_over(timeout_seconds)
            return
        client = self._client.current
        self._call(
            "abort_transaction", lambda: client.abort_transaction(_UNLIMITED), timeout_seconds
        )

    def close(self, timeout_seconds: float) -> None:
        if self._closed.is_set():
            return
        self._in_flight.wait_empty(timeout_seconds)
        self._closed.set()
        self._delivery_thread.join(_CLOSE_SECONDS)
        # What the delivery thread gave up is not sent any more behind its back.
        self._client.close()

    def _call(self, name: str, function: Callable[[], None], timeout_seconds: float) -> None:
        with translated():
            self._calls.call(name, function, timeout_seconds)

    def _give_up(self) -> None:
        self._batches.shrink()
        self._client.give_up()

    def _take_over(self, timeout_seconds: float) -> None:
        """Have a new client end what the old one left open."""
        self.init_transactions(timeout_seconds)
        # What the old client failed to send must not be counted against the next transaction.
        self._in_flight.wait_empty(timeout_seconds)
        self._is_cut_off = self._is_spoilt = False
        self._calls.taken_over()

    def _check_topic(self, topic: str) -> None:
        """Wait for a topic's metadata: an unknown one is refused here, not record by record."""
        deadline = self._clock() + _TOPIC_SECONDS
        while True:
            try:
                with translated():
                    found = self._client.current.list_topics(topic, _TOPIC_STEP_SECONDS)
                problem = self._refusal(topic, found.topics[topic].error)
            except BackendUnavailableError as error:
                problem = error
            if problem is None:
                self._partitions[topic] = len(found.topics[topic].partitions)
                self._is_cut_off = False
                return
            self._raise_fatal()
            if self._clock() >= deadline:
                # A transactional client never looks for a cluster that moved (see settings.py).
                self._is_cut_off = isinstance(problem, BackendUnavailableError)
                raise problem
            self._closed.wait(_TOPIC_RETRY_SECONDS)

    def _refusal(self, topic: str, error: KafkaError | None) -> BackendError | None:
        """Return why a topic cannot be used. Raises what no waiting helps against."""
        if error is None:
            return None
        problem = translate(error)
        if isinstance(problem, AuthenticationError | BackendConfigError):
            raise problem
        if isinstance(problem, UnknownTopicError):
            return UnknownTopicError(
                f'the topic "{topic}" does not exist: create it, or let the brokers do so '
                "(auto.create.topics.enable)"
            )
        return problem

    def _raise_fatal(self) -> None:
        if self._closed.is_set():
            raise BackendError("the producer is closed")
        fatal = self._fatal
        if isinstance(fatal, AuthenticationError):
            self._fatal = None  # told once; credentials can be corrected, a fenced producer cannot
        if fatal is not None:
            raise fatal

    def _wait_written(self, timeout_seconds: float) -> float:
        """Wait until all of the transaction is written; return the time that is left."""
        deadline = self._clock() + timeout_seconds
        self._raise_fatal()
        try:
            self._in_flight.wait_written(timeout_seconds)
        except TransactionAbortedError:
            self._raise_fatal()  # the cause, where there is one
            raise
        return max(deadline - self._clock(), 0)

    def _report(self) -> None:
        while not self._closed.is_set():
            wait_seconds = self._reports.collect()
            fatal = self._fatal
            if fatal is None:
                self._in_flight.report(0)
            else:
                # The client reports nothing any more.
                self._held.drop(fatal)
                self._in_flight.give_up(fatal)
                self._in_flight.report(wait_seconds)
            left_seconds = self._held.release()
            if left_seconds is not None:
                wait_seconds = min(wait_seconds, left_seconds)
            client = self._client.current
            try:
                client.poll(wait_seconds)
            except KafkaException as error:
                if client is self._client.current:
                    self._fatal = translate(error.args[0])
            except BackendError:
                break  # it was closed meanwhile
            # A transaction's client is replaced when it is aborted.
            if not self._is_transactional and self._batches.shrink():
                self._client.follow_up()
        self._reports.collect()
        closed = BackendUnavailableError("the producer was closed before")
        self._held.drop(closed)
        self._in_flight.give_up(closed)

    def _on_error(self, error: KafkaError) -> None:
        problem = translate(error)
        if isinstance(problem, AuthenticationError | FencedError):
            self._fatal = problem


def _is_wrong_state(error: KafkaError | BackendError) -> bool:
    return isinstance(error, KafkaError) and error.code() == KafkaError._STATE  # noqa: SLF001
