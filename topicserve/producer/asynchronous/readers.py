"""The asyncio twins of the readers: a thread of each owns its consumer."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Generic, Self, TypeVar

from topicserve.backends.defaults import DEFAULT_CLIENT
from topicserve.backends.references.body_reader import BodyRead, BodyReader, refers
from topicserve.backends.references.daemon_threads import DaemonThreads
from topicserve.producer.result_reader import DeadLetterReader, ResultReader
from topicserve.producer.topic_reader import OnInvalid, OnUnavailable, TopicReader
from topicserve.wire.dead_letter import DeadLetter
from topicserve.wire.result import MetadataStatus, Result

T = TypeVar("T")
R = TypeVar("R")

# What takes longer to decode than to hand to another thread.
_LARGE_BYTES = 64 * 1024
# How many records are yielded before other tasks have their turn.
_TOGETHER = 64


class AsyncTopicReader(Generic[T]):
    """Yields what a reader reads; one task uses it, and closes it."""

    def __init__(self, reader: TopicReader[T]) -> None:
        self._reader = reader
        self._thread = DaemonThreads(1, "topicserve-reader")

    async def read(
        self,
        *,
        limit: int | None = None,
        timeout_seconds: float | None = None,
        until_end: bool = False,
    ) -> AsyncIterator[T]:
        """Yield results, waiting for each; ends and raises as the synchronous reader's does.

            async for result in reader.read(until_end=True):
                print(result.value)

        What was polled but not yielded, also when the task is cancelled, is kept for the next call.
        """
        self._reader.read(limit=limit, timeout_seconds=timeout_seconds)  # looks at the arguments
        count = turn = 0
        while limit is None or count < limit:
            if not self._reader.polled:
                wait = self._reader.begin_wait(
                    timeout_seconds, until_end, has_limit=limit is not None
                )
                while (found := await self._run(partial(self._reader.poll_once, wait))) is None:
                    pass
                if not found:
                    return
            wanted = await self._next()
            if wanted is not None:
                count += 1
                yield wanted
            turn += 1
            if turn % _TOGETHER == 0:
                await asyncio.sleep(0)

    async def commit(self) -> None:
        """Commit everything yielded (or passed over) so far for the group; see TopicReader."""
        await self._run(self._reader.commit)

    async def close(self) -> None:
        """Leave the group and close the connection."""
        try:
            await self._run(self._reader.close)
        finally:
            self._thread.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _next(self) -> T | None:
        first = self._reader.polled[0]
        if len(first.value or b"") < _LARGE_BYTES and not refers(first):
            return self._reader.next_polled()
        read = BodyRead()
        decode = self._thread.submit(partial(self._reader.decode_first, read))
        try:
            decoded = await asyncio.wrap_future(decode)
        except asyncio.CancelledError:
            # The record is the first one again the next time, which waits for no body of now.
            read.abandon()
            self._thread.leave(decode)
            raise
        return self._reader.take_first(decoded)

    async def _run(self, call: Callable[[], R]) -> R:
        return await asyncio.wrap_future(self._thread.submit(call))


class AsyncResultReader(AsyncTopicReader[Result]):
    """Yields results; those that the filters leave out are never decoded. See ResultReader."""

    @classmethod
    def connect(
        cls,
        bootstrap_servers: str | Sequence[str],
        topic: str,
        *,
        group_id: str | None = None,
        client: str = DEFAULT_CLIENT,
        kafka_settings: Mapping[str, object] | None = None,
        servable: str | None = None,
        version: int | None = None,
        metadata_status: MetadataStatus | str | None = None,
        on_invalid: OnInvalid | None = None,
        on_unavailable: OnUnavailable | None = None,
        bodies: BodyReader | None = None,
    ) -> Self:
        """Return a reader with a connection of its own; the same as ResultReader's.

        Nothing is connected yet, so that it may be called in an event loop. `on_invalid` is called
        in the event loop's thread or the reader's, `on_unavailable` in the event loop's.
        """
        return cls(
            ResultReader.connect(
                bootstrap_servers,
                topic,
                group_id=group_id,
                client=client,
                kafka_settings=kafka_settings,
                servable=servable,
                version=version,
                metadata_status=metadata_status,
                on_invalid=on_invalid,
                on_unavailable=on_unavailable,
                bodies=bodies,
            )
        )


class AsyncDeadLetterReader(AsyncTopicReader[DeadLetter]):
    """Yields the records that workers gave up, each with its reason. See DeadLetterReader."""

    @classmethod
    def connect(
        cls,
        bootstrap_servers: str | Sequence[str],
        topic: str,
        *,
        group_id: str | None = None,
        client: str = DEFAULT_CLIENT,
        kafka_settings: Mapping[str, object] | None = None,
        servable: str | None = None,
        on_invalid: OnInvalid | None = None,
    ) -> Self:
        """Return a reader with a connection of its own; the same as AsyncResultReader's."""
        return cls(
            DeadLetterReader.connect(
                bootstrap_servers,
                topic,
                group_id=group_id,
                client=client,
                kafka_settings=kafka_settings,
                servable=servable,
                on_invalid=on_invalid,
            )
        )
