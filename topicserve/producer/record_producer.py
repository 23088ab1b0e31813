"""Publishes input records: metadata into the store first, then the record to its topic."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from topicserve.backends.broker import Producer
from topicserve.backends.defaults import DEFAULT_CLIENT, DEFAULT_KEY_PREFIX
from topicserve.backends.metadata_store import MetadataStore
from topicserve.backends.own_process import own_process
from topicserve.backends.redis_store import DEFAULT_TTL_SECONDS
from topicserve.producer import arguments
from topicserve.producer.connections import open_producer, open_store
from topicserve.producer.encoder import EncodedRecord, RecordEncoder
from topicserve.producer.errors import PublishError
from topicserve.producer.in_progress.backlog import Backlog
from topicserve.producer.publish_future import PublishFuture
from topicserve.producer.publisher import Publisher
from topicserve.producer.record import Record
from topicserve.producer.rows.mapping import CommonFields, MetadataColumns, RowMapping, encode_rows

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

DEFAULT_SOURCE = "/topicserve/producer"
DEFAULT_TIMEOUT_SECONDS = 120.0  # Kafka's own delivery.timeout.ms
CLOSE_AFTER_ERROR_SECONDS = 5.0
MAX_IN_FLIGHT_RECORDS = 10_000
MAX_IN_FLIGHT_BYTES = 64 * 1024 * 1024


@own_process("RecordProducer")
class RecordProducer:
    """Publishes records to one topic; any thread may call it.

    A record is sent only after its metadata is stored, so no worker meets one whose metadata is
    still on its way. Records of one key keep their order. While the store is away a record waits
    for `timeout_seconds` and then fails, as it does when the broker does not acknowledge it.

    It belongs to the process that made it: after `os.fork()` the child's calls raise ForkedError.
    Servers that fork (gunicorn, multiprocessing) make one in each process.

    Owns the Kafka producer and the store it is given, and closes them. Leaving the context waits
    for everything published and raises PublishError if any of it failed.
    """

    def __init__(
        self,
        producer: Producer,
        metadata_store: MetadataStore | None,
        topic: str,
        *,
        servable: str | None = None,
        source: str = DEFAULT_SOURCE,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        max_in_flight_records: int = MAX_IN_FLIGHT_RECORDS,
        max_in_flight_bytes: int = MAX_IN_FLIGHT_BYTES,
        clock: Callable[[], float] = time.monotonic,
        tracer_provider: "TracerProvider | None" = None,
    ) -> None:
        self._encoder = RecordEncoder(
            arguments.topic_name(topic), source, arguments.text_or_none(servable, "servable")
        )
        self._publisher = Publisher(
            producer,
            metadata_store,
            Backlog(max_in_flight_records, max_in_flight_bytes),
            arguments.seconds(timeout_seconds, "timeout_seconds"),
            clock,
            tracer_provider,
        )

    @classmethod
    def connect(
        cls,
        bootstrap_servers: str | Sequence[str],
        redis_url: str | None,
        topic: str,
        *,
        servable: str | None = None,
        source: str = DEFAULT_SOURCE,
        client: str = DEFAULT_CLIENT,
        kafka_settings: Mapping[str, object] | None = None,
        key_prefix: str = DEFAULT_KEY_PREFIX,
        ttl_seconds: float = DEFAULT_TTL_SECONDS,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        tracer_provider: "TracerProvider | None" = None,
    ) -> Self:
        """Return a producer with connections of its own.

        `kafka_settings` are Kafka's own names and values ("compression.type": "lz4"). Without a
        `redis_url`, records with metadata are refused. `ttl_seconds` is how long metadata is kept.
        Records are traced by `tracer_provider`, or by the one that the program has configured for
        OpenTelemetry, if there is one. Raises BackendConfigError naming the setting that is wrong.
        """
        arguments.topic_name(topic)  # before a connection is opened that would stay open
        store = open_store(redis_url, key_prefix, ttl_seconds)
        return cls(
            open_producer(bootstrap_servers, client, kafka_settings, timeout_seconds),
            store,
            topic,
            servable=servable,
            source=source,
            timeout_seconds=timeout_seconds,
            tracer_provider=tracer_provider,
        )

    def publish(self, record: Record) -> PublishFuture:
        """Take a record, and return before it is published.

            future = producer.publish(Record(instance=[1.0, 2.0], metadata={"user": 7}))
            place = future.result()

        Raises InvalidRecordError naming the field that is wrong, and TypeError for anything but a
        Record. Waits while as many records are in progress as may be, and raises BacklogFullError
        when that does not change in time.
        """
        return self.publish_many([record])[0]

    def publish_many(self, records: Iterable[Record]) -> list[PublishFuture]:
        """Take records in order; where one is invalid, none of them is published."""
        encoded = [self._encode(record) for record in several(records)]
        return [self._publisher.put(self._publisher.entry(one)) for one in encoded]

    def publish_rows(
        self,
        rows: Any,
        *,
        inputs: str | Sequence[str] | None = None,
        vector: bool = False,
        tensors: bool = False,
        metadata: MetadataColumns = None,
        record_ids: str | Iterable[Any] | None = None,
        keys: str | Iterable[Any] | None = None,
        **common: Unpack[CommonFields],
    ) -> list[PublishFuture]:
        """Take each row of a table as a record, in order; their futures are in that order, too.

        `rows` is a numpy array, columns by name, a pandas DataFrame or Series, or an Arrow table,
        batch, array or reader (pyarrow, polars).

            producer.publish_rows(array)                        # a row is array[i]
            producer.publish_rows(frame, metadata=["user"])     # {"x": 1.0, "y": 2.0}
            producer.publish_rows(frame, inputs=["x", "y"], vector=True)    # [1.0, 2.0]
            producer.publish_rows({"image": images}, tensors=True, metadata={"run": 7})

        `inputs` are the columns that a model is given, all that have no other use by default: an
        object by name, or that column's value alone where `inputs` is one name. With `vector` a row
        is the list of their values, with `tensors` it is sent as arrays, in protobuf. `metadata`
        are names of columns, or values by name: each a column, or one value for all rows.
        `record_ids` and `keys` are a column's name, or one value a row.

        Rows are encoded and taken 1,000 at a time: an invalid one raises InvalidRecordError naming
        its row before any of its thousand is published. Give a very large table in parts: a future
        takes about two kilobytes.
        """
        mapping = RowMapping(
            inputs=inputs,
            vector=vector,
            tensors=tensors,
            metadata=metadata,
            record_ids=record_ids,
            keys=keys,
            common=common,
        )
        futures: list[PublishFuture] = []
        for records in mapping.records(rows):
            encoded = encode_rows(self._encode, records, len(futures))
            futures += [self._publisher.put(self._publisher.entry(one)) for one in encoded]
        return futures

    def waiting_for(self) -> str:
        """Return what records wait for right now, for a person; empty where none is in progress.

        Such as a metadata store that is not available, or acknowledgements of the broker.
        """
        return self._publisher.waiting_for()

    def flush(self, timeout_seconds: float | None = None) -> None:
        """Wait until everything published is acknowledged or has failed.

        Raises PublishError for the records that have failed since the last call, and
        BackendUnavailableError when the time (default: `timeout_seconds`) runs out first.
        """
        self._publisher.flush(timeout_seconds)

    def close(self, timeout_seconds: float | None = None) -> None:
        """Publish what was taken, within the time given, and close the connections.

        What is left then fails. Raises PublishError for what failed since the last flush.
        """
        self._publisher.close(timeout_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
            return
        # A caller that fails or is interrupted does not wait long, and what was raised says more.
        with suppress(PublishError):
            self.close(min(CLOSE_AFTER_ERROR_SECONDS, self._publisher.timeout_seconds))

    def _encode(self, record: Any) -> EncodedRecord:
        return self._publisher.check(self._encoder.encode(checked(record)))


def several(records: Any) -> Iterable[Any]:
    """Return several records; raises TypeError for one, or for what is none."""
    if isinstance(records, (Record, str, bytes, Mapping)) or not isinstance(records, Iterable):
        raise TypeError(
            f"publish_many takes a list of topicserve.Record, found {type(records).__name__}"
        )
    return records


def checked(record: Any) -> Record:
    """Return a record; raises TypeError for what is none."""
    if isinstance(record, Record):
        return record
    raise TypeError(
        f"a topicserve.Record is published, found {type(record).__name__}; write "
        "Record(instance=..., metadata=...)"
    )
