"""What the tests of the broker port drive it with: a group's members, and counted deliveries."""

import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from topicserve.backends.broker import Broker, Consumer, Offsets, OffsetsAdmin, Producer
from topicserve.backends.errors import BackendError
from topicserve.wire.kafka_record import KafkaRecord, OutgoingRecord, TopicPartition

LIMIT_SECONDS = 30.0
POLL_SECONDS = 0.1


def unique(prefix: str) -> str:
    """Return a name that no one else uses."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def eventually(step: Callable[[], object], limit_seconds: float = LIMIT_SECONDS) -> None:
    """Repeat a step, which waits for a client by itself, until it returns something true."""
    deadline = time.monotonic() + limit_seconds
    while not step():
        assert time.monotonic() < deadline, f"not within {limit_seconds} s"


class Deliveries:
    """Hears what became of what was sent; pass `heard` to `send`."""

    def __init__(self) -> None:
        self.lists: list[Sequence[BackendError | None]] = []
        self.threads: set[str] = set()
        self._changed = threading.Condition()

    def heard(self, errors: Sequence[BackendError | None]) -> None:
        """See OnDelivery."""
        with self._changed:
            self.lists.append(errors)
            self.threads.add(threading.current_thread().name)
            self._changed.notify_all()

    def wait(self, lists: int = 1) -> list[BackendError | None]:
        """Wait for so many lists and return all of their errors, in the order reported."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.lists) >= lists, LIMIT_SECONDS * 2)
            return [error for errors in self.lists for error in errors]


def send(producer: Producer, records: Sequence[OutgoingRecord]) -> list[BackendError | None]:
    """Send one list and wait for what became of it."""
    deliveries = Deliveries()
    producer.send(records, deliveries.heard)
    return deliveries.wait()


@dataclass
class Member:
    """A consumer and its listener, which notes every call and the thread that it came on."""

    consumer: Consumer
    assigned: set[TopicPartition] = field(default_factory=set)
    events: list[tuple[str, frozenset[TopicPartition]]] = field(default_factory=list)
    listener_threads: list[threading.Thread] = field(default_factory=list)
    records: list[KafkaRecord] = field(default_factory=list)
    before_revoked: Callable[[], None] = lambda: None

    def on_assigned(self, partitions: Sequence[TopicPartition]) -> None:
        self._note("assigned", partitions)
        self.assigned |= set(partitions)

    def on_revoked(self, partitions: Sequence[TopicPartition]) -> Offsets:
        self._note("revoked", partitions)
        self.before_revoked()
        self.assigned -= set(partitions)
        return {p: offset for p, offset in self.next_offsets().items() if p in partitions}

    def on_lost(self, partitions: Sequence[TopicPartition]) -> None:
        self._note("lost", partitions)
        self.assigned -= set(partitions)

    def poll(self, max_records: int = 500) -> list[KafkaRecord]:
        """Poll once and keep the records."""
        polled = self.consumer.poll(POLL_SECONDS, max_records)
        self.records += polled
        return polled

    def poll_until(self, condition: Callable[[], object]) -> None:
        """Poll until a condition holds."""
        eventually(lambda: condition() or (self.poll() and False) or condition())

    def read(self, count: int) -> list[KafkaRecord]:
        """Poll until there are so many records, and return all that there are."""
        self.poll_until(lambda: len(self.records) >= count)
        return self.records

    def next_offsets(self) -> dict[TopicPartition, int]:
        """Return the offset behind the last record of each partition."""
        return {TopicPartition(r.topic, r.partition): r.offset + 1 for r in self.records}

    def happened(self, name: str) -> list[frozenset[TopicPartition]]:
        """Return the partitions of each event of that name."""
        return [partitions for event, partitions in self.events if event == name]

    def _note(self, event: str, partitions: Sequence[TopicPartition]) -> None:
        self.events.append((event, frozenset(partitions)))
        self.listener_threads.append(threading.current_thread())


class Port:
    """Opens what one client has on one broker; all of it ends with the test."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self._closing: list[Callable[[], None]] = []

    def admin(self) -> OffsetsAdmin:
        """Open an admin."""
        admin = self.broker.admin()
        self._closing.append(admin.close)
        return admin

    def producer(self, settings: Mapping[str, object] | None = None) -> Producer:
        """Open a producer."""
        producer = self.broker.producer(settings)
        self._closing.append(lambda: producer.close(5))
        return producer

    def member(
        self, topic: str, group_id: str = "", settings: Mapping[str, object] | None = None
    ) -> Member:
        """Open a member of a group, a new group if none is named, that reads from the start."""
        merged = {"auto.offset.reset": "earliest"} | dict(settings or {})
        member = Member(self.broker.consumer(group_id or unique("group"), merged))
        member.consumer.subscribe([topic], member)
        self._closing.append(lambda: member.consumer.close(5))
        return member

    def topic(self, partitions: int = 4) -> str:
        """Create a topic of its own for a test."""
        name = unique("topic")
        assert self.admin().create_topic(name, partitions, LIMIT_SECONDS)
        return name

    def close(self) -> None:
        """Close what was opened, the last first."""
        while self._closing:
            self._closing.pop()()


def numbered(topic: str, count: int, partition: int | None = None) -> list[OutgoingRecord]:
    """Return records whose values are their numbers; keys go round."""
    return [
        OutgoingRecord(topic, b"key-%d" % (n % 16), b"%d" % n, partition=partition)
        for n in range(count)
    ]


def numbers(records: Sequence[KafkaRecord]) -> list[int]:
    """Return the numbers of such records."""
    return [int(record.value or b"-1") for record in records]
