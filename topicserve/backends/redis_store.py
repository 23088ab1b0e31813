"""The metadata store on Redis (or Valkey), through redis-py with hiredis.

One connection pool a store. Values go in and out as bytes: neither side decodes them here.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from types import NoneType
from typing import Any, NoReturn, TypeVar
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from topicserve.backends.defaults import DEFAULT_KEY_PREFIX
from topicserve.backends.errors import BackendConfigError, BackendUnavailableError
from topicserve.backends.redis_connections import RecentConnections, Taken
from topicserve.backends.redis_errors import translated, worst
from topicserve.redact import redact_url

DEFAULT_TTL_SECONDS = 24 * 3600
MAX_TTL_SECONDS = 100 * 365.25 * 24 * 3600
"""Far below what Redis takes, which refuses others record by record."""
# Long enough to hide the round trip, short enough that one command never holds the server up.
CHUNK_RECORDS = 1024

_PLAIN = frozenset((bytes, NoneType))

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
        if ttl_seconds > MAX_TTL_SECONDS:
            raise BackendConfigError(
                f"metadata.ttl_seconds must be at most {MAX_TTL_SECONDS:.0f} (100 years), found "
                f"{ttl_seconds}"
            )
        self._redis = _open(url, timeout_seconds)
        self._recent = RecentConnections(self._redis.connection_pool)
        password = self._redis.connection_pool.connection_kwargs.get("password") or ""
        self._secrets = (password, quote(password, safe=""), url)
        self._key_prefix = key_prefix
        self._ttl_milliseconds = int(ttl_seconds * 1000)

    def put_many(self, metadata: Mapping[str, bytes]) -> None:
        self._recent.release_all()
        with translated(self._secrets):
            for chunk in _chunks(list(metadata.items())):
                pipeline = self._redis.pipeline(transaction=False)
                for record_id, content in chunk:
                    pipeline.set(self._key(record_id), content, px=self._ttl_milliseconds)
                # Its own errors have the command in their text, with the metadata in it.
                answers = pipeline.execute(raise_on_error=False)
                errors = [answer for answer in answers if isinstance(answer, Exception)]
                if (error := worst(errors, self._secrets)) is not None:
                    raise error

    def get_many(self, record_ids: Sequence[str]) -> list[bytes | None]:
        return self.request_many(record_ids).result()

    def request_many(self, record_ids: Sequence[str]) -> "PendingMget":
        keys = [self._key(record_id) for record_id in record_ids]
        return PendingMget(self._recent, list(_chunks(keys)), self._secrets)

    def delete_many(self, record_ids: Sequence[str]) -> None:
        self._recent.release_all()
        with translated(self._secrets):
            for chunk in _chunks(record_ids):
                self._redis.unlink(*[self._key(record_id) for record_id in chunk])

    def ping(self) -> None:
        self._recent.release_all()
        with translated(self._secrets):
            self._redis.ping()

    def close(self) -> None:
        self._recent.release_all()
        self._redis.close()

    def _key(self, record_id: str) -> str:
        return self._key_prefix + record_id


def _open(url: str, timeout_seconds: float) -> Any:
    try:
        client = redis.Redis.from_url(
            url,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            retry=Retry(NoBackoff(), 0),
        )
    except (ValueError, TypeError):
        # The text of these errors may hold a part of the password.
        raise BackendConfigError(
            f"metadata.redis_url: must be redis://, rediss:// or unix:// with user and password "
            f"percent-encoded, such as redis://user:password@host:6379/0; found {redact_url(url)}"
        ) from None
    # The URL can say so too; metadata is bytes.
    client.connection_pool.connection_kwargs["decode_responses"] = False
    return client


class PendingMget:
    """MGETs whose first question is sent, on a connection of their own until all are answered.

    Only one question is ever on its way: an answer that no one reads yet is bounded by the chunk.
    """

    def __init__(
        self,
        connections: RecentConnections,
        chunks: Sequence[list[str]],
        secrets: Collection[str] = (),
    ) -> None:
        self._connections = connections
        self._secrets = secrets
        self._chunks = chunks
        self._taken: Taken | None = None
        if chunks:
            try:
                self._taken = connections.take()
                self._taken.connection.send_command("MGET", *chunks[0])
            except BaseException:
                self._fail()

    def result(self) -> list[bytes | None]:
        """Wait for the answers, in the order asked."""
        found: list[bytes | None] = []
        taken = self._taken
        if taken is None:
            return found
        connection = taken.connection
        try:
            for number, chunk in enumerate(self._chunks):
                if number:
                    connection.send_command("MGET", *chunk)
                found += _contents(connection.read_response(), len(chunk), self._secrets)
        except BaseException:
            self._fail()
        self._taken = None
        self._connections.give_back(taken)
        return found

    def close(self) -> None:
        """Give the answers up, if they were not read."""
        if self._taken is not None:
            taken, self._taken = self._taken, None
            self._connections.discard(taken)

    def _fail(self) -> NoReturn:
        """Raise what is being handled in the port's words; an answer may still come."""
        self.close()
        with translated(self._secrets):
            raise


def _chunks(items: Sequence[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while chunk := list(islice(rest, CHUNK_RECORDS)):
        yield chunk


def _contents(answer: object, asked: int, secrets: Collection[str]) -> list[bytes | None]:
    """Return an MGET's answer, if it is one.

    A proxy that asks several servers may put an error in the place of one value.
    """
    if not isinstance(answer, list) or len(answer) != asked:
        # A connection that is out of step: it is closed, and the next one asked.
        raise BackendUnavailableError("Redis answered another request")
    if not _PLAIN.issuperset(map(type, answer)):
        passing = [one for one in map(_passing, answer) if one is not None]
        if (error := worst(passing, secrets)) is not None:
            raise error
        answer = [_content(one) for one in answer]
    return answer


def _passing(value: object) -> Exception | None:
    """Return the value if it is an error that is not about this one key."""
    about_one_key = str(value).startswith("WRONGTYPE")
    return value if isinstance(value, Exception) and not about_one_key else None


def _content(value: object) -> bytes | None:
    """Return the bytes under a key; those of anything else are no JSON object, so it is refused."""
    if value is None or isinstance(value, bytes):
        return value
    return b"not a string: " + str(value).encode(errors="replace")
