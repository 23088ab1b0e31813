import threading
from collections.abc import Iterator

import pytest

from tests.support.kafka.port import unique
from tests.support.redis.redis_servers import SecureRedis, open_redis, open_secure_redis
from topicserve.backends.errors import AuthenticationError
from topicserve.backends.metadata_store import MetadataStore
from topicserve.backends.redis_store import RedisMetadataStore
from topicserve.embedded.redis_server import RedisServer


@pytest.fixture(scope="module", params=["valkey", "redis"])
def redis_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the embedded Valkey, or Debian's Redis."""
    if request.param == "valkey":
        with RedisServer() as server:
            yield server.redis_url
    else:
        with open_redis() as port:
            yield f"redis://127.0.0.1:{port}/0"


@pytest.fixture
def store(redis_url: str) -> Iterator[MetadataStore]:
    """Give a store whose keys are its own."""
    opened = RedisMetadataStore(redis_url, key_prefix=unique("prefix"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def secure() -> Iterator[SecureRedis]:
    """Run Redis with TLS and ACLs."""
    with open_secure_redis() as server:
        yield server


def test_metadata_comes_back_in_the_order_asked(store: MetadataStore) -> None:
    """What is there is found, what is not is None, over several chunks of a round trip."""
    metadata = {f"id-{number}": b'{"n": %d}' % number for number in range(3_000)}
    store.put_many(metadata)

    asked = [*reversed(metadata), "missing"]

    assert store.get_many(asked) == [*reversed(metadata.values()), None]
    assert store.request_many(asked).result() == store.get_many(asked)


def test_bytes_are_kept_as_they_are(store: MetadataStore) -> None:
    """Any bytes whatever come back unchanged, the empty ones too."""
    metadata = {"empty": b"", "all": bytes(range(256)), "large": b"x" * 1_000_000}

    store.put_many(metadata)

    assert store.get_many(list(metadata)) == list(metadata.values())


def test_deleted_metadata_is_gone(store: MetadataStore) -> None:
    """Deleting what is there and what is not leaves nothing."""
    store.put_many({"a": b"1", "b": b"2"})

    store.delete_many(["a", "missing"])

    assert store.get_many(["a", "b"]) == [None, b"2"]


def test_metadata_expires(redis_url: str) -> None:
    """After its time metadata is gone by itself."""
    store = RedisMetadataStore(redis_url, key_prefix=unique("prefix"), ttl_seconds=0.05)

    store.put_many({"a": b"1"})
    threading.Event().wait(0.2)

    assert store.get_many(["a"]) == [None]


def test_an_answer_given_up_disturbs_nobody(store: MetadataStore) -> None:
    """After a question whose answer no one read, the next gets its own answer."""
    store.put_many({"a": b"1", "b": b"2"})

    store.request_many(["a"]).close()

    assert store.get_many(["b"]) == [b"2"]


def test_the_store_passes_through_tls_and_acls(secure: SecureRedis) -> None:
    """A user who may do these four commands under the prefix needs no more."""
    store = RedisMetadataStore(secure.url("worker", "right"))

    store.ping()
    store.put_many({"a": b"1"})
    found = store.get_many(["a", "b"])
    store.delete_many(["a"])

    assert found == [b"1", None]
    assert store.get_many(["a"]) == [None]


@pytest.mark.parametrize(
    ("user", "password", "trusted"),
    [("worker", "wrong", True), ("nobody", "right", True), ("worker", "right", False)],
    ids=["wrong-password", "unknown-user", "untrusted-server"],
)
def test_who_is_refused_is_told(
    secure: SecureRedis, user: str, password: str, trusted: bool
) -> None:
    """Neither a wrong password nor a certificate that no one signed is waited for."""
    store = RedisMetadataStore(secure.url(user, password, trusted=trusted))

    with pytest.raises(AuthenticationError):
        store.ping()


def test_a_missing_right_is_told(secure: SecureRedis) -> None:
    """A user whose keys are others' may not write ours."""
    store = RedisMetadataStore(secure.url("stranger", "right"))

    with pytest.raises(AuthenticationError):
        store.put_many({"a": b"1"})
    with pytest.raises(AuthenticationError):
        store.get_many(["a"])
