"""The asyncio twin of RecordProducer: the same core, and nothing that blocks the event loop.

`publish` is awaited while there is no room, and its futures are for `await`.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from topicserve.backends.broker import Producer
from topicserve.backends.defaults import DEFAULT_CLIENT, DEFAULT_KEY_PREFIX
from topicserve.backends.metadata_store import MetadataStore
from topicserve.backends.own_process import require_process, this_process
from topicserve.backends.redis_store import DEFAULT_TTL_SECONDS
from topicserve.producer import arguments
from topicserve.producer.asynchronous.queueing import encoded_aside, put_aside
from topicserve.producer.connections import open_producer, open_store
from topicserve.producer.encoder import EncodedRecord, RecordEncoder
from topicserve.producer.errors import PublishError
from topicserve.producer.in_progress.backlog import Backlog
from topicserve.producer.publisher import Publisher
from topicserve.producer.record import Record
from topicserve.producer.record_producer import (
    CLOSE_AFTER_ERROR_SECONDS,
    DEFAULT_SOURCE,
    DEFAULT_TIMEOUT_SECONDS,
    MAX_IN_FLIGHT_BYTES,
    MAX_IN_FLIGHT_RECORDS,
    checked,
    several,
)
from topicserve.producer.rows.mapping import CommonFields, MetadataColumns, RowMapping, encode_rows
from topicserve.wire.kafka_record import Place

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider


class AsyncPublishFuture(asyncio.Future[Place]):
    """What becomes of one record, to be awaited: its place, or why it was not acknowledged.

    The errors are PublishFuture's. Cancelling it withdraws the record until it is on its way to the
    broker. An error that is awaited by no one is told by `flush` and `close`.
    """

    def __init__(self, record_id: str, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self.record_id = record_id


class AsyncRecordProducer:
    """Publishes records to one topic, from one event loop; otherwise as RecordProducer.

    Records are stored and sent by a thread of its own. The loop waits for nothing but room: large
    records are encoded in another thread, too.
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
        self._process_id = this_process()
        self._encoder = RecordEncoder(
            arguments.topic_name(topic), source, arguments.text_or_none(servable, "servable")
        )
        backlog = Backlog(max_in_flight_records, max_in_flight_bytes)
        limit = arguments.seconds(timeout_seconds, "timeout_seconds")
        self._publisher = Publisher(
            producer, metadata_store, backlog, limit, clock, tracer_provider
        )
        self._turn = asyncio.Lock()

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
        """Return a producer with connections of its own; the same as RecordProducer's.

        Nothing is connected yet, so that it may be called in an event loop.
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

    async def publish(self, record: Record) -> AsyncPublishFuture:
        """Take a record, waiting for room, and return before it is published.

            future = await producer.publish(Record(instance=[1.0, 2.0], metadata={"user": 7}))
            place = await future

        Raises what RecordProducer's raises.
        """
        return (await self.publish_many([record]))[0]

    async def publish_many(self, records: Iterable[Record]) -> list[AsyncPublishFuture]:
        """Take records in order; where one is invalid, none of them is published."""
        require_process(self._process_id, "AsyncRecordProducer")
        encoded = [await encoded_aside(self._encode, record) for record in several(records)]
        return [await self._put(one) for one in encoded]

    async def publish_rows(
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
    ) -> list[AsyncPublishFuture]:
        """Take each row of a table as a record, in order; see RecordProducer.

            futures = await producer.publish_rows(frame, metadata=["user"])

        Rows are read and encoded in another thread.
        """
        require_process(self._process_id, "AsyncRecordProducer")
        mapping = RowMapping(
            inputs=inputs,
            vector=vector,
            tensors=tensors,
            metadata=metadata,
            record_ids=record_ids,
            keys=keys,
            common=common,
        )
        chunks = mapping.records(rows)
        futures: list[AsyncPublishFuture] = []
        while (records := await asyncio.to_thread(next, chunks, None)) is not None:
            encoded = await asyncio.to_thread(encode_rows, self._encode, records, len(futures))
            futures += [await self._put(one) for one in encoded]
        return futures

    def waiting_for(self) -> str:
        """See RecordProducer."""
        return self._publisher.waiting_for()

    async def flush(self, timeout_seconds: float | None = None) -> None:
        """Wait until everything published is acknowledged or has failed; see RecordProducer."""
        await asyncio.to_thread(self._publisher.flush, timeout_seconds)

    async def close(self, timeout_seconds: float | None = None) -> None:
        """Publish what was taken, within the time given, and close; see RecordProducer."""
        await asyncio.to_thread(self._publisher.close, timeout_seconds)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            await self.close()
            return
        # A caller that fails or is cancelled does not wait long, and what was raised says more.
        with suppress(PublishError):
            await self.close(min(CLOSE_AFTER_ERROR_SECONDS, self._publisher.timeout_seconds))

    def _encode(self, record: Record) -> EncodedRecord:
        return self._publisher.check(self._encoder.encode(checked(record)))

    async def _put(self, encoded: EncodedRecord) -> AsyncPublishFuture:
        entry = self._publisher.entry(encoded)
        await put_aside(self._publisher, entry, self._turn, self._publisher.timeout_seconds)
        loop = asyncio.get_running_loop()
        future = AsyncPublishFuture(encoded.record_id, loop)

        def withdraw(done: asyncio.Future[Place]) -> None:
            if done.cancelled():
                entry.future.cancel()

        def tell(done: Future[Place]) -> None:
            with suppress(RuntimeError):  # the loop is closed: no one awaits it
                loop.call_soon_threadsafe(_copy, done, future)

        future.add_done_callback(withdraw)
        entry.future.add_done_callback(tell)
        return future


def _copy(done: Future[Place], future: AsyncPublishFuture) -> None:
    if future.done():
        return
    if done.cancelled():
        future.cancel()
    elif (error := done.exception()) is not None:
        future.set_exception(error)
        future.exception()  # flush tells it to those who do not await it
    else:
        future.set_result(done.result())
