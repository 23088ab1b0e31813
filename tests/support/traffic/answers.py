"""A client's two topics in memory: what it publishes, and what comes back."""

import queue
import threading
from collections.abc import Callable, Sequence

import numpy as np

from tests.support.kafka.kafka_doubles import MemoryLog, MemoryProducer
from tests.support.stages.fakes import MemoryMetadataStore
from topicserve.backends.broker import (
    ConsumerStats,
    Offsets,
    OnDelivery,
    Places,
    RebalanceListener,
)
from topicserve.backends.errors import BackendError
from topicserve.backends.references.body_reader import BodyReader
from topicserve.producer.client.core import ClientCore
from topicserve.producer.client.listener import ResultListener
from topicserve.producer.client.requests import PendingRequests
from topicserve.producer.encoder import RecordEncoder
from topicserve.producer.in_progress.backlog import Backlog
from topicserve.producer.publisher import Publisher
from topicserve.wire.dead_letter import DeadLetter, Reason, encode_dead_letter
from topicserve.wire.input_record import decode_input
from topicserve.wire.kafka_record import KafkaRecord, OutgoingRecord, TopicPartition
from topicserve.wire.result import Metadata, MetadataStatus
from topicserve.wire.result_encoder import Origin, encode_results

RESULTS, DEAD_LETTERS = "results", "dead-letters"
Answer = Callable[[OutgoingRecord], Sequence[OutgoingRecord]]


def a_result(sent: OutgoingRecord, value: float = 1.0) -> OutgoingRecord:
    """Return a worker's result of a record."""
    record = decode_input(KafkaRecord("in", 0, 0, 0, sent.key, sent.value, sent.headers))
    origin = Origin("digits", 3, "serving_default", "worker-1")
    outputs = {"y": np.full(record.rows, value)}
    metadata = [Metadata(MetadataStatus.ABSENT)]
    (result,) = encode_results(RESULTS, origin, [record], [sent.key], outputs, metadata)
    return result


def a_dead_letter(sent: OutgoingRecord, reason: Reason, message: str) -> OutgoingRecord:
    """Return the dead letter of a record."""
    record = KafkaRecord("in", 0, 7, 1700, sent.key, sent.value, sent.headers)
    return encode_dead_letter(DeadLetter(record, reason, "E", message), DEAD_LETTERS)


class Traffic:
    """Answers each record that is sent, at once; `answer` says with what."""

    def __init__(self, bodies: BodyReader | None = None) -> None:
        self._bodies = bodies
        self.answer: Answer = lambda sent: [a_result(sent)]
        self.log = MemoryLog()
        self.store = MemoryMetadataStore()
        self.producer = AnsweringProducer(self)
        self.consumers: list[QueueConsumer] = []
        self.come = threading.Event()  # a request whose record was sent
        self.opened = threading.Semaphore(0)  # released with each consumer
        self.fail_open: Callable[[], BackendError | None] = lambda: None
        self.fail_ends: BackendError | None = None
        self.lag_records = 0
        self._offsets = {RESULTS: 100, DEAD_LETTERS: 50}
        self._queue: queue.Queue[KafkaRecord | None] = queue.Queue()

    def core(self, **bounds: int) -> ClientCore:
        """Return a client's core on this traffic."""
        requests = PendingRequests(self._bodies)
        backlog = Backlog(bounds.get("max_records", 1000), 1 << 26)
        return ClientCore(
            RecordEncoder("in", "/test", "digits"),
            Publisher(self.producer, self.store, backlog, bounds.get("timeout_seconds", 10.0)),
            ResultListener(
                [RESULTS, DEAD_LETTERS], self._open_consumer, lambda: Ends(self), requests
            ),
            requests,
            has_dead_letters=True,
        )

    def write(self, records: Sequence[OutgoingRecord]) -> None:
        """Have records come to the topics that the client reads."""
        for record in records:
            offset = self._offsets[record.topic]
            self._offsets[record.topic] += 1
            self._queue.put(
                KafkaRecord(record.topic, 0, offset, 0, record.key, record.value, record.headers)
            )

    def ends(self, topic: str) -> dict[TopicPartition, int]:
        """Return a topic's end."""
        if self.fail_ends is not None:
            raise self.fail_ends
        return {TopicPartition(topic, 0): self._offsets[topic]}

    def take(self, wait_seconds: float) -> list[KafkaRecord]:
        """Wait for a record."""
        try:
            record = self._queue.get(timeout=wait_seconds)
        except queue.Empty:
            record = None
        return [] if record is None else [record]

    def wake(self) -> None:
        """Let the poll that waits return."""
        self._queue.put(None)

    def _open_consumer(self) -> "QueueConsumer":
        error = self.fail_open()
        if error is not None:
            raise error
        self.consumers.append(QueueConsumer(self))
        self.opened.release()
        return self.consumers[-1]


class AnsweringProducer(MemoryProducer):
    """Has each record answered before it is acknowledged."""

    def __init__(self, traffic: Traffic) -> None:
        super().__init__(traffic.log)
        self._traffic = traffic

    def send(
        self,
        records: Sequence[OutgoingRecord],
        on_delivery: OnDelivery,
        timeout_seconds: float | None = None,
        places: Places | None = None,
    ) -> None:
        super().send(records, on_delivery, timeout_seconds, places)
        for record in records:
            self._traffic.write(self._traffic.answer(record))
        self._traffic.come.set()


class QueueConsumer:
    """Reads what is written, one record a poll."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._listener: RebalanceListener | None = None
        self._assigned: list[TopicPartition] = []
        self.sought: dict[TopicPartition, int] = {}
        self._error: BackendError | None = None
        self.closed = False

    def subscribe(self, topics: Sequence[str], listener: RebalanceListener) -> None:
        self._assigned = [TopicPartition(topic, 0) for topic in topics]
        self._listener = listener

    def poll(self, timeout_seconds: float, max_records: int) -> list[KafkaRecord]:  # noqa: ARG002
        if self._listener is not None:
            listener, self._listener = self._listener, None
            listener.on_assigned(self._assigned)
            return []
        polled = self._traffic.take(timeout_seconds)
        if self._error is not None:
            raise self._error
        return polled

    def fail(self, error: BackendError) -> None:
        """Have the poll that waits, and each one after it, raise this."""
        self._error = error
        self._traffic.wake()

    def seek(self, offsets: Offsets) -> None:
        self.sought.update(offsets)

    def stats(self) -> ConsumerStats:
        lag = {TopicPartition(RESULTS, 0): self._traffic.lag_records}
        return ConsumerStats(frozenset(self._assigned), frozenset(), lag)

    def close(self, timeout_seconds: float) -> None:  # noqa: ARG002
        self.closed = True

    def pause(self, partitions: Sequence[TopicPartition]) -> None: ...

    def resume(self, partitions: Sequence[TopicPartition]) -> None: ...

    def commit(self, *_: object) -> None:
        raise AssertionError("a client commits nothing")

    def committed(self, *_: object) -> dict[TopicPartition, int | None]:
        raise AssertionError("a client has no committed offsets")

    def group_metadata(self) -> object:
        raise AssertionError("a client has no transactions")


class Ends:
    """An admin that knows the topics' ends."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic

    def end_offsets(self, topic: str, timeout_seconds: float) -> dict[TopicPartition, int]:  # noqa: ARG002
        return self._traffic.ends(topic)

    def close(self) -> None: ...
