"""Publishes records, reads what becomes of them, and knows at any moment what is still owed.

One thread does both, by hand: a step publishes some records and then reads for a moment, which
also paces the publishing, so that nothing here sleeps. Records are known by their Kafka key, which
results and dead letters keep: so even a record whose id is spoilt can be accounted for.
"""

import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import orjson
import redis
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    ConsumerGroupTopicPartitions,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from tests.support.kafka.topics import ADMIN_LIMIT_SECONDS
from topicserve.wire import header_names as names
from topicserve.wire.dead_letter import REASON_HEADER
from topicserve.wire.kafka_record import KafkaRecord
from topicserve.wire.result import Result, decode_result

STEP_SECONDS = 0.05
READ_RECORDS = 5_000
# What is measured is how soon others are back, not these clients: librdkafka's own are 10 and 60 s.
IMPATIENT = {"reconnect.backoff.max.ms": 500, "socket.timeout.ms": 4_000}
METADATA_PREFIX = "topicserve:metadata:"


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one deployment."""

    input: str
    output: str
    dead_letter: str

    @classmethod
    def fresh(cls) -> "Topics":
        """Return names that no one has used."""
        name = uuid.uuid4().hex[:8]
        return cls(f"in-{name}", f"out-{name}", f"dead-{name}")


@dataclass(frozen=True, slots=True)
class Sent:
    """One record as it was published."""

    key: bytes
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    instance: Any = None
    metadata: dict[str, Any] | None = None


@dataclass(slots=True)
class Seen:
    """What has come back so far, counted; `answers` and `reasons` are by record key."""

    answers: Counter[bytes] = field(default_factory=Counter)
    reasons: dict[bytes, str] = field(default_factory=dict)
    dead_letters: Counter[bytes] = field(default_factory=Counter)
    workers: Counter[str] = field(default_factory=Counter)
    versions: Counter[int] = field(default_factory=Counter)
    metadata: Counter[str] = field(default_factory=Counter)
    longest_silence_seconds: float = 0.0

    @property
    def outcomes(self) -> int:
        """Return how many results and dead letters were read, duplicates included."""
        return self.answers.total() + self.dead_letters.total()

    @property
    def duplicates(self) -> int:
        """Return how many outcomes were read beyond the first of each record."""
        keys = self.answers.keys() | self.dead_letters.keys()
        return self.outcomes - len(keys)


def a_record(
    instance: Any,
    *,
    metadata: dict[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Sent:
    """Return a record in our wire format; headers are added to the usual ones or replace them."""
    record_id = str(uuid.uuid4())
    usual = {
        names.SPECVERSION: names.SPECVERSION_VALUE,
        names.ID: record_id,
        names.SOURCE: "/tests",
        names.TYPE: names.INPUT_TYPE,
        names.CONTENT_TYPE: names.JSON_CONTENT_TYPE,
    }
    texts = {**usual, **(headers or {})}
    value = orjson.dumps({"instance": instance}, option=orjson.OPT_SERIALIZE_NUMPY)
    encoded: list[tuple[str, bytes | None]] = [
        (name, text.encode()) for name, text in texts.items()
    ]
    return Sent(record_id.encode(), value, encoded, instance, metadata)


class Traffic:
    """What one test publishes and reads. `check` is called with every result's record."""

    def __init__(
        self,
        bootstrap_servers: str,
        redis_url: str,
        topics: Topics,
        check: Callable[[Sent, Result], None],
        describe: Callable[[], str] = lambda: "",
    ) -> None:
        self.sent: dict[bytes, Sent] = {}
        self.seen = Seen()
        self.follow: Callable[[KafkaRecord], KafkaRecord] = lambda record: record
        """Returns a result's record with its body, where that may lie elsewhere."""
        self._bootstrap_servers = bootstrap_servers
        self._topics, self._check, self._describe = topics, check, describe
        self._store = redis.Redis.from_url(redis_url)
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                # Tries again where a broker went away, which must not write a record twice.
                "enable.idempotence": True,
                **IMPATIENT,
                "linger.ms": 5,
                "partitioner": "murmur2_random",
                "log_level": 2,
            }
        )
        self._reader = committed_reader(bootstrap_servers, topics.output, topics.dead_letter)
        self._answered_at = time.monotonic()

    def publish(self, records: Iterable[Sent]) -> None:
        """Store the records' metadata, then write them; they are durable when this returns."""
        self._begin_writing(records)
        self.until_written(ADMIN_LIMIT_SECONDS)

    def until_written(self, limit_seconds: float) -> None:
        """Wait until all records are durable that were published so far."""
        left = self._producer.flush(limit_seconds)
        assert left == 0, f"{left} records were not written\n{self._describe()}"

    def _begin_writing(self, records: Iterable[Sent]) -> None:
        records = list(records)
        found = {
            METADATA_PREFIX + record.key.decode(): orjson.dumps(record.metadata)
            for record in records
            if record.metadata is not None
        }
        if found:
            self._store.mset(found)
        for record in records:
            self.sent[record.key] = record
            self._producer.produce(
                self._topics.input, record.value, key=record.key, headers=record.headers
            )
        self._producer.poll(0)

    def step(self, records: Iterable[Sent] = ()) -> None:
        """Publish records and read for a moment."""
        records = list(records)
        if records:
            self.publish(records)
        self._read()

    def _step_unwritten(self, records: Iterable[Sent]) -> None:
        self._begin_writing(records)
        self._read()

    def _read(self) -> None:
        messages = self._reader.consume(READ_RECORDS, STEP_SECONDS)
        # The reader tells of a broker that is away in the same way.
        outcomes = [message for message in messages if not message.error()]
        self._note_silence(bool(outcomes))
        for message in outcomes:
            if message.topic() == self._topics.dead_letter:
                self._take_dead_letter(message)
            else:
                self._take_result(message)

    def until(
        self,
        condition: Callable[[], bool],
        limit_seconds: float,
        make: Callable[[], Iterable[Sent]] = tuple,
        *,
        written: bool = True,
    ) -> None:
        """Step until a condition holds, each time with the records that `make` returns.

        Where `written` is false no step waits for its records to be: a broker may be away.
        """
        step = self.step if written else self._step_unwritten
        deadline = time.monotonic() + limit_seconds
        while not condition():
            step(make())
            assert time.monotonic() < deadline, (
                f"not reached within {limit_seconds} s: {self.summary()}\n{self._describe()}"
            )

    def for_seconds(self, seconds: float, make: Callable[[], Iterable[Sent]] = tuple) -> None:
        """Step for that long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.step(make())

    def for_outcomes(
        self, outcomes: int, limit_seconds: float, make: Callable[[], Iterable[Sent]] = tuple
    ) -> None:
        """Step until that many results and dead letters more were read."""
        enough = self.seen.outcomes + outcomes
        self.until(lambda: self.seen.outcomes >= enough, limit_seconds, make)

    def until_answered(self, limit_seconds: float) -> None:
        """Read until every record that was published has its result or dead letter."""
        self.until(lambda: not self.owed(), limit_seconds)

    def owed(self) -> int:
        """Return how many published records have neither result nor dead letter yet."""
        return len(self.sent) - len(self.seen.answers.keys() | self.seen.dead_letters.keys())

    def owed_keys(self) -> set[bytes]:
        """Return which they are."""
        return self.sent.keys() - self.seen.answers.keys() - self.seen.dead_letters.keys()

    def uncommitted_records(self, group_id: str) -> int:
        """Return how many input records lie behind the group's committed offsets."""
        admin = AdminClient({"bootstrap.servers": self._bootstrap_servers})
        metadata = admin.list_topics(self._topics.input, timeout=ADMIN_LIMIT_SECONDS)
        partitions = [
            TopicPartition(self._topics.input, number)
            for number in metadata.topics[self._topics.input].partitions
        ]
        latest = admin.list_offsets({partition: OffsetSpec.latest() for partition in partitions})
        ends = {p.partition: f.result(ADMIN_LIMIT_SECONDS).offset for p, f in latest.items()}
        asked = ConsumerGroupTopicPartitions(group_id, partitions)
        (answer,) = admin.list_consumer_group_offsets([asked]).values()
        committed = answer.result(ADMIN_LIMIT_SECONDS).topic_partitions
        return sum(ends[one.partition] - max(one.offset, 0) for one in committed)

    def summary(self) -> str:
        """Return where things stand, in one line."""
        return (
            f"{len(self.sent)} sent, {len(self.seen.answers)} answered, "
            f"{len(self.seen.dead_letters)} given up, {self.owed()} owed, "
            f"{self.seen.duplicates} duplicates, versions {dict(self.seen.versions)}, "
            f"longest silence {self.seen.longest_silence_seconds:.1f} s"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._reader.close()
        self._store.close()

    def _take_result(self, message: Any) -> None:
        result = decode_result(self.follow(_as_record(message)))
        sent = self.sent[message.key()]
        self.seen.answers[message.key()] += 1
        self.seen.workers[result.worker_id or ""] += 1
        self.seen.versions[result.version] += 1
        self.seen.metadata[result.metadata_status.value] += 1
        self._check(sent, result)

    def _take_dead_letter(self, message: Any) -> None:
        sent = self.sent[message.key()]
        assert message.value() == sent.value, "a dead letter's value was touched"
        headers = dict(message.headers())
        self.seen.dead_letters[message.key()] += 1
        self.seen.reasons[message.key()] = headers[REASON_HEADER].decode()

    def _note_silence(self, answered: bool) -> None:
        """Time how long nothing came while something was owed."""
        now = time.monotonic()
        if answered:
            self.seen.longest_silence_seconds = max(
                self.seen.longest_silence_seconds, now - self._answered_at
            )
        if answered or not self.owed():
            self._answered_at = now


def committed_reader(bootstrap_servers: str, *topics: str) -> Consumer:
    """Return a reader of whole topics, from their beginnings, of committed records only."""
    return topic_reader(bootstrap_servers, "read_committed", *topics)


def topic_reader(bootstrap_servers: str, isolation_level: str, *topics: str) -> Consumer:
    """Return a reader of whole topics, from their beginnings, outside any group."""
    reader = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": f"reader-{random.randbytes(4).hex()}",
            "enable.auto.commit": False,
            "isolation.level": isolation_level,
            "fetch.wait.max.ms": 50,
            **IMPATIENT,
            "log_level": 2,
        }
    )
    partitions = []
    for topic in topics:
        found = reader.list_topics(topic, timeout=ADMIN_LIMIT_SECONDS).topics[topic].partitions
        assert found, f"a broker does not know {topic}, of which nothing would be read"
        partitions += [TopicPartition(topic, number, OFFSET_BEGINNING) for number in found]
    reader.assign(partitions)
    return reader


def _as_record(message: Any) -> KafkaRecord:
    return KafkaRecord(
        message.topic(),
        message.partition(),
        message.offset(),
        message.timestamp()[1],
        message.key(),
        message.value(),
        message.headers() or [],
    )
