"""Topics for one run: input that becomes readable at once, and output read to the end."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Self

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, Producer, TopicPartition

from benchmarks.workload import Shape, Workload, input_headers
from tests.support.kafka.topics import ADMIN_LIMIT_SECONDS

PARTITIONS = 4
_FLUSH_LIMIT_SECONDS = 60.0
_READ_RECORDS = 10_000


class InputTopic:
    """Writes a workload to an input topic.

    `write_held_back` writes in a transaction that stays open: readers of committed records wait
    until `release`, and then find everything there. So neither starting up nor writing takes part
    in what is measured.
    """

    def __init__(
        self, bootstrap_servers: str, topic: str, workload: Workload, shape: Shape
    ) -> None:
        self._settings = {
            "bootstrap.servers": bootstrap_servers,
            "linger.ms": 20,
            "batch.size": 256 << 10,
            "queue.buffering.max.messages": 500_000,
            "partitioner": "murmur2_random",
            "log_level": 4,
        }
        self._topic, self._workload, self._shape = topic, workload, shape
        self._transaction: Producer | None = None

    def write(self, indexes: Iterable[int]) -> None:
        """Write these records of the workload; they are readable when this returns."""
        self._write(Producer(self._settings), indexes)

    def write_held_back(self, indexes: Iterable[int]) -> None:
        """Write these records of the workload; no one can read them yet."""
        self._transaction = Producer(self._settings | {"transactional.id": f"hold {self._topic}"})
        self._transaction.init_transactions(ADMIN_LIMIT_SECONDS)
        self._transaction.begin_transaction()
        self._write(self._transaction, indexes)

    def release(self) -> None:
        """Make what was held back readable."""
        assert self._transaction is not None
        self._transaction.commit_transaction(ADMIN_LIMIT_SECONDS)

    @contextmanager
    def one_at_a_time(self) -> Iterator[Callable[[int], None]]:
        """Give a function that writes one record of the workload at once, without waiting."""
        producer = Producer(self._settings | {"linger.ms": 0})

        def publish(index: int) -> None:
            self._produce(producer, index)
            # Short, so that the next moment is not missed; what is left, flush sends.
            producer.poll(0)

        yield publish
        self._flush(producer)

    def _write(self, producer: Producer, indexes: Iterable[int]) -> None:
        for index in indexes:
            self._produce(producer, index)
            producer.poll(0)
        self._flush(producer)

    def _produce(self, producer: Producer, index: int) -> None:
        record_id = self._workload.ids[index]
        servables = self._workload.servables
        servable = servables[index % len(servables)]
        producer.produce(
            self._topic,
            self._workload.value(index, self._shape),
            key=record_id.encode(),
            headers=input_headers(record_id, self._shape, servable),
        )

    def _flush(self, producer: Producer) -> None:
        left = producer.flush(_FLUSH_LIMIT_SECONDS)
        if left:
            raise TimeoutError(f"{left} records were not written within {_FLUSH_LIMIT_SECONDS} s")


class OutputTopic:
    """Reads the committed records of an output topic from its beginning."""

    def __init__(self, bootstrap_servers: str, topic: str, partitions: int = PARTITIONS) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                "group.id": f"reads {topic}",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
            }
        )
        self._consumer.assign(
            [TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(partitions)]
        )

    def read(self, limit_seconds: float) -> list[Message]:
        """Return what there is within the time given: many records at once, for throughput."""
        return [m for m in self._consumer.consume(_READ_RECORDS, limit_seconds) if not m.error()]

    def read_one(self, limit_seconds: float) -> Message | None:
        """Return the next record as soon as it is there, None when it does not come in time."""
        message = self._consumer.poll(limit_seconds)
        return None if message is None or message.error() else message

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._consumer.close()
