"""A call that waits for its answer: publishes a record and returns its result."""

import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self, Unpack

from topicserve.backends.defaults import DEFAULT_CLIENT, DEFAULT_KEY_PREFIX
from topicserve.backends.own_process import own_process
from topicserve.backends.redis_store import DEFAULT_TTL_SECONDS
from topicserve.backends.references.body_reader import BodyReader
from topicserve.producer import arguments
from topicserve.producer.client.connections import DEFAULT_SOURCE, open_core
from topicserve.producer.client.core import CLOSE_SECONDS, ClientCore, PendingRequest, RecordFields
from topicserve.producer.errors import PredictTimeoutError
from topicserve.wire.result import Result

DEFAULT_TIMEOUT_SECONDS = 10.0
MAX_PENDING_REQUESTS = 1000


@own_process("PredictClient")
class PredictClient:
    """Publishes records and waits for their results; any thread may call it.

    A process needs one: a single consumer reads the results, and the dead letters where their topic
    is given, of all its requests, and finds them by record id. It starts at the end of the topics,
    in a group of its own, and decodes nothing that answers another client.

    At most `max_pending_requests` wait for results at a time; further ones wait for their turn
    within their own timeout.
    """

    def __init__(
        self,
        core: ClientCore,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        max_pending_requests: int = MAX_PENDING_REQUESTS,
    ) -> None:
        self._core = core
        self._timeout_seconds = arguments.seconds(timeout_seconds, "timeout_seconds")
        self._room = threading.BoundedSemaphore(
            arguments.whole_number(max_pending_requests, "max_pending_requests")
        )

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
        """Return a client with connections of its own.

        Without a `dead_letter_topic` a record that a worker gives up is a request that times out.
        `kafka_settings` are Kafka's own names and values, for producer and consumer.
        `timeout_seconds` is that of a request that names none. `bodies` reads results that workers
        have stored elsewhere; without it such a request raises InvalidRecordError. The rest is as
        RecordProducer's.
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

    def predict(
        self, inputs: Any = None, *, timeout: float | None = None, **fields: Unpack[RecordFields]
    ) -> Result:
        """Publish one record and return its result.

        `inputs` are columns, as Record's; `instance`, `instances` or `tensors` may be given in
        their place, and the other fields of Record. The record's deadline is the end of `timeout`
        (seconds, by this machine's clock), so that no worker predicts what no one waits for.

            result = client.predict({"x": [1.0, 2.0]}, metadata={"user": 7}, timeout=2.0)
            result.value, result.version, result.metadata

        Raises DeadLetterError where a worker gave the record up, PredictTimeoutError (a
        TimeoutError) where no result came in time, InvalidRecordError naming the field that is
        wrong, and a BackendError where the record could not be published or the client is closed.
        """
        limit = self._limit(timeout)
        encoded = self._core.encode(self._core.record(inputs, fields, limit))
        give_up_at = time.monotonic() + limit
        request: PendingRequest | None = None
        is_admitted = False
        try:
            is_admitted = self._room.acquire(timeout=limit)
            if not is_admitted:
                raise self._core.no_place(limit)
            self._core.listener.ready().result(_left(give_up_at))
            request = self._core.open(encoded)
            self._core.publisher.put(request.entry, _left(give_up_at))
            return request.future.result(_left(give_up_at))
        except PredictTimeoutError:
            raise
        except TimeoutError:
            raise self._core.timed_out(request, limit) from None
        finally:
            if request is not None:
                self._core.drop(request)
            if is_admitted:
                self._room.release()

    def wait_ready(self, timeout: float | None = None) -> None:
        """Connect, and wait until results are read: the first request then takes no longer.

        Raises what keeps the client from reading results, such as UnknownTopicError.
        """
        limit = self._limit(timeout)
        try:
            self._core.listener.ready().result(limit)
        except PredictTimeoutError:
            raise
        except TimeoutError:
            raise self._core.not_ready(limit) from None

    def close(self, timeout_seconds: float = CLOSE_SECONDS) -> None:
        """Close the connections; requests that wait for a result raise BackendUnavailableError."""
        self._core.close(timeout_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _limit(self, timeout: float | None) -> float:
        return self._timeout_seconds if timeout is None else arguments.seconds(timeout, "timeout")


def _left(give_up_at: float) -> float:
    return max(give_up_at - time.monotonic(), 0)
