"""The metadata store on Redis (or Valkey), through redis-py with hiredis."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from topicserve.backends.errors import (
    AuthenticationError,
    BackendConfigError,
    BackendError,
    BackendUnavailableError,
)

DEFAULT_KEY_PREFIX = "topicserve:metadata:"
DEFAULT_TTL_SECONDS = 24 * 3600
# Long enough to hide the round trip, short enough that one command never holds the server up.
CHUNK_RECORDS = 1024

T = TypeVar("T")


class RedisMetadataStore:
    """Keeps metadata as Redis strings under a prefix and the record id.

    With an empty prefix it finds what other programs keep under the bare UUID. Building one
    connects to nothing. A failed call is not repeated here: the caller knows how long to wait.
    """

    def __init__(
        self,
        url: str,
        *,
        key_prefix: str = DEFAULT_KEY_PREFIX,
        ttl_seconds: float = DEFAULT_TTL_SECONDS,
        timeout_seconds: float = 5.0,
    ) -> None:
        if ttl_seconds < 0.001:
            raise BackendConfigError(
                f"metadata.ttl_seconds must be at least 0.001, found {ttl_seconds}"
            )
        try:
            self._redis: Any = redis.Redis.from_url(
                url,
                socket_timeout=timeout_seconds,
                socket_connect_timeout=timeout_seconds,
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError as error:
            raise BackendConfigError(f"metadata.redis_url: {error}") from None
        self._key_prefix = key_prefix
        self._ttl_milliseconds = int(ttl_seconds * 1000)

    def put_many(self, metadata: Mapping[str, bytes]) -> None:
        with _translated():
            for chunk in _chunks(list(metadata.items())):
                pipeline = self._redis.pipeline(transaction=False)
                for record_id, content in chunk:
                    pipeline.set(self._key(record_id), content, px=self._ttl_milliseconds)
                pipeline.execute()

    def get_many(self, record_ids: Sequence[str]) -> list[bytes | None]:
        return self.request_many(record_ids).result()

    def request_many(self, record_ids: Sequence[str]) -> "PendingMget":
        keys = [self._key(record_id) for record_id in record_ids]
        return PendingMget(self._redis.connection_pool, list(_chunks(keys)))

    def delete_many(self, record_ids: Sequence[str]) -> None:
        with _translated():
            for chunk in _chunks(record_ids):
                self._redis.unlink(*[self._key(record_id) for record_id in chunk])

    def ping(self) -> None:
        with _translated():
            self._redis.ping()

    def close(self) -> None:
        self._redis.close()

    def _key(self, record_id: str) -> str:
        return self._key_prefix + record_id


class PendingMget:
    """MGETs whose first question is sent, on a connection of their own until all are answered.

    Only one question is ever on its way: an answer that nobody reads yet is bounded by the chunk.
    """

    def __init__(self, pool: Any, chunks: Sequence[list[str]]) -> None:
        self._pool = pool
        self._chunks = chunks
        self._connection: Any = None
        if chunks:
            with self._borrowed() as connection:
                connection.send_command("MGET", *chunks[0])

    def result(self) -> list[bytes | None]:
        """Wait for the answers, in the order asked."""
        found: list[bytes | None] = []
        if not self._chunks:
            return found
        with self._borrowed() as connection:
            for number in range(len(self._chunks)):
                if number:
                    connection.send_command("MGET", *self._chunks[number])
                found.extend(connection.read_response())
        self._pool.release(self._connection)
        self._connection = None
        return found

    def close(self) -> None:
        """Give the answers up, if they were not read."""
        if self._connection is not None:
            # What is still in the connection would be taken for the next question's answer.
            self._connection.disconnect()
            self._pool.release(self._connection)
            self._connection = None

    @contextmanager
    def _borrowed(self) -> Generator[Any]:
        """Hold a connection; on any failure it is closed, for an answer may still be in it."""
        try:
            with _translated():
                if self._connection is None:
                    self._connection = self._pool.get_connection()
                yield self._connection
        except BaseException:
            self.close()
            raise


def _chunks(items: Sequence[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while chunk := list(islice(rest, CHUNK_RECORDS)):
        yield chunk


@contextmanager
def _translated() -> Generator[None]:
    """Raise the port's errors for redis-py's."""
    try:
        yield
    except redis.RedisError as error:
        raise translate(error) from error
    except OSError as error:
        raise BackendUnavailableError(f"Redis is not available: {error}") from error


_REFUSED = (
    redis.AuthenticationError,
    redis.exceptions.AuthorizationError,
    redis.exceptions.NoPermissionError,
    redis.exceptions.AuthenticationWrongNumberOfArgsError,
)
_PASSING = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.ReadOnlyError,
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.TryAgainError,
    redis.exceptions.ClusterDownError,
)
# Answers that redis-py has no class for: the disk is full, replicas are away.
_PASSING_CODES = ("MISCONF", "NOREPLICAS")


def translate(error: redis.RedisError) -> BackendError:
    """Return the port's error for one of redis-py's, most telling class first."""
    if isinstance(error, _REFUSED):
        return AuthenticationError(f"Redis refused us: {error}; check the credentials and ACLs")
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return AuthenticationError(f"Redis is not trusted: {error}; check ssl_ca_certs")
    if isinstance(error, _PASSING) or str(error).startswith(_PASSING_CODES):
        return BackendUnavailableError(f"Redis is not available: {error}")
    return BackendConfigError(f"Redis answered what a metadata store should not: {error}")
