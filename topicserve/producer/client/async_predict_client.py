"""The asyncio twin of PredictClient: the same core, and nothing that blocks the event loop."""

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self, Unpack

from topicserve.backends.defaults import DEFAULT_CLIENT, DEFAULT_KEY_PREFIX
from topicserve.backends.own_process import require_process, this_process
from topicserve.backends.redis_store import DEFAULT_TTL_SECONDS
from topicserve.backends.references.body_reader import BodyReader
from topicserve.producer import arguments
from topicserve.producer.asynchronous.queueing import encoded_aside, put_aside
from topicserve.producer.client.connections import DEFAULT_SOURCE, open_core
from topicserve.producer.client.core import CLOSE_SECONDS, ClientCore, PendingRequest, RecordFields
from topicserve.producer.client.predict_client import (
    DEFAULT_TIMEOUT_SECONDS,
    MAX_PENDING_REQUESTS,
)
from topicserve.producer.errors import PredictTimeoutError
from topicserve.wire.result import Result


class AsyncPredictClient:
    """Publishes records and awaits their results, in one event loop.

    Otherwise as PredictClient: one consumer for all requests of the process, bounded. A task that
    is cancelled withdraws its record where it is not on its way to the broker yet, and drops the
    result otherwise.
    """

    def __init__(
        self,
        core: ClientCore,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        max_pending_requests: int = MAX_PENDING_REQUESTS,
    ) -> None:
        self._process_id = this_process()
        self._core = core
        self._timeout_seconds = arguments.seconds(timeout_seconds, "timeout_seconds")
        self._room = asyncio.BoundedSemaphore(
            arguments.whole_number(max_pending_requests, "max_pending_requests")
        )
        self._turn = asyncio.Lock()

    @classmethod
    def connect(
        cls,
        bootstrap_servers: str | Sequence[str],
        redis_url: str | None,
        input_topic: str,
        output_topic: str,
        *,
        dead_letter_topic: str | None = None,
        servable: str | None = None,
        source: str = DEFAULT_SOURCE,
        client: str = DEFAULT_CLIENT,
        kafka_settings: Mapping[str, object] | None = None,
        key_prefix: str = DEFAULT_KEY_PREFIX,
        ttl_seconds: float = DEFAULT_TTL_SECONDS,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        max_pending_requests: int = MAX_PENDING_REQUESTS,
        bodies: BodyReader | None = None,
    ) -> Self:
        """Return a client with connections of its own; the same as PredictClient's.

        Nothing is connected yet, so that it may be called in an event loop.
        """
        core = open_core(
            bootstrap_servers,
            redis_url,
            input_topic,
            output_topic,
            dead_letter_topic=dead_letter_topic,
            servable=servable,
            source=source,
            client=client,
            kafka_settings=kafka_settings,
            key_prefix=key_prefix,
            ttl_seconds=ttl_seconds,
            bodies=bodies,
        )
        return cls(core, timeout_seconds=timeout_seconds, max_pending_requests=max_pending_requests)

    async def predict(
        self, inputs: Any = None, *, timeout: float | None = None, **fields: Unpack[RecordFields]
    ) -> Result:
        """Publish one record and return its result.

            result = await client.predict({"x": [1.0, 2.0]}, metadata={"user": 7}, timeout=2.0)

        Takes and raises what PredictClient's does.
        """
        limit = self._limit(timeout)
        request: PendingRequest | None = None
        is_admitted = False
        try:
            async with asyncio.timeout(limit), self._room:
                is_admitted = True
                record = self._core.record(inputs, fields, limit)
                encoded = await encoded_aside(self._core.encode, record)
                await self._ready()
                request = self._core.open(encoded)
                await put_aside(self._core.publisher, request.entry, self._turn, limit)
                return await asyncio.wrap_future(request.future)
        except PredictTimeoutError:
            raise
        except TimeoutError:
            if not is_admitted:
                raise self._core.no_place(limit) from None
            raise self._core.timed_out(request, limit) from None
        finally:
            if request is not None:
                self._core.drop(request)

    async def wait_ready(self, timeout: float | None = None) -> None:
        """Connect, and wait until results are read: the first request then takes no longer.

        Raises what keeps the client from reading results, such as UnknownTopicError.
        """
        limit = self._limit(timeout)
        try:
            async with asyncio.timeout(limit):
                await self._ready()
        except PredictTimeoutError:
            raise
        except TimeoutError:
            raise self._core.not_ready(limit) from None

    async def close(self, timeout_seconds: float = CLOSE_SECONDS) -> None:
        """Close the connections; requests that wait for a result raise BackendUnavailableError."""
        await asyncio.to_thread(self._core.close, timeout_seconds)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _ready(self) -> None:
        require_process(self._process_id, "AsyncPredictClient")
        ready = self._core.listener.ready()
        if ready.done():
            ready.result()
            return
        # Shielded: it is everyone's.
        await asyncio.shield(asyncio.wrap_future(ready))

    def _limit(self, timeout: float | None) -> float:
        return self._timeout_seconds if timeout is None else arguments.seconds(timeout, "timeout")
