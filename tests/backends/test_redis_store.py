import socket
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.support.redis.valkey import open_valkey
from topicserve.backends.errors import (
    AuthenticationError,
    BackendConfigError,
    BackendUnavailableError,
)
from topicserve.backends.metadata_store import MetadataStore
from topicserve.backends.redis_store import CHUNK_RECORDS, MAX_TTL_SECONDS, RedisMetadataStore

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    """Run a Valkey server on loopback."""
    with open_valkey() as server:
        yield f"redis://127.0.0.1:{server.port}/0"


@pytest.fixture
def client(redis_url: str) -> Iterator[Any]:
    """Return a bare client on an empty server, to see what was really stored."""
    with redis.Redis.from_url(redis_url) as bare:
        bare.flushall()
        yield bare


def test_finds_in_order_what_was_stored(redis_url: str, client: Any) -> None:
    """Metadata comes back in the order asked, None where there is none, over several chunks."""
    store: MetadataStore = RedisMetadataStore(redis_url)
    metadata = {f"id-{n}": b'{"row": %d}' % n for n in range(CHUNK_RECORDS + 5)}

    store.put_many(metadata)

    asked = [*reversed(metadata), "unknown"]
    assert store.get_many(asked) == [*reversed(metadata.values()), None]
    assert client.dbsize() == len(metadata)


def test_keys_carry_the_prefix_and_a_ttl(redis_url: str, client: Any) -> None:
    """Metadata that no one reads goes away by itself."""
    RedisMetadataStore(redis_url, ttl_seconds=60).put_many({"a": b"{}"})

    assert 0 < client.pttl("topicserve:metadata:a") <= 60_000


def test_without_prefix_finds_what_other_programs_stored(redis_url: str, client: Any) -> None:
    """An empty prefix means the bare record id."""
    client.set("a", b"{}")

    assert RedisMetadataStore(redis_url, key_prefix="").get_many(["a"]) == [b"{}"]


def test_a_value_of_another_type_counts_as_missing(redis_url: str, client: Any) -> None:
    """MGET answers nil for it; the records beside it have their metadata."""
    client.rpush("topicserve:metadata:list", "{}")
    client.hset("topicserve:metadata:hash", "row", "1")
    client.set("topicserve:metadata:text", b"{}")

    found = RedisMetadataStore(redis_url).get_many(["list", "text", "hash"])

    assert found == [None, b"{}", None]


def test_deletes_what_is_there(redis_url: str, client: Any) -> None:
    """Unknown ids are ignored, and an empty list asks nothing of the server."""
    store = RedisMetadataStore(redis_url)
    store.put_many({"a": b"{}", "b": b"{}"})

    store.delete_many(["a", "unknown"])
    store.delete_many([])

    assert store.get_many(["a", "b"]) == [None, b"{}"]
    assert client.dbsize() == 1


def test_a_server_that_is_away_is_a_passing_fault() -> None:
    """The caller backs off and tries again."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        store = RedisMetadataStore(f"redis://127.0.0.1:{taken.getsockname()[1]}/0")

        with pytest.raises(BackendUnavailableError):
            store.ping()


def test_wrong_credentials_are_refused_loudly(redis_url: str) -> None:
    """Trying again would not help, so it is not a passing fault."""
    store = RedisMetadataStore(redis_url.replace("redis://", "redis://nobody:wrong@"))

    with pytest.raises(AuthenticationError):
        store.ping()


def test_bad_settings_name_the_key() -> None:
    """A config error says which setting to correct."""
    with pytest.raises(BackendConfigError, match="redis_url"):
        RedisMetadataStore("http://127.0.0.1")
    with pytest.raises(BackendConfigError, match="ttl_seconds"):
        RedisMetadataStore("redis://127.0.0.1", ttl_seconds=0)


def test_errors_of_the_system_are_passing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the sockets raise themselves does not come out as it is."""
    store = RedisMetadataStore("redis://127.0.0.1:1")

    def fail(*_: object, **__: object) -> None:
        raise OSError("too many open files")

    monkeypatch.setattr(redis.ConnectionPool, "get_connection", fail)

    with pytest.raises(BackendUnavailableError, match="too many open files"):
        store.ping()


@pytest.mark.parametrize("ttl_seconds", [0.0001, 1e300, MAX_TTL_SECONDS * 1.01])
def test_a_ttl_that_redis_would_refuse_is_refused_at_once(ttl_seconds: float) -> None:
    """It would refuse each record's metadata."""
    with pytest.raises(BackendConfigError, match=r"metadata.ttl_seconds must be at"):
        RedisMetadataStore("redis://127.0.0.1:1", ttl_seconds=ttl_seconds)
