import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.redis.resp_server import open_resp_server
from tests.support.redis.valkey import open_valkey
from topicserve.backends.errors import (
    AuthenticationError,
    BackendBusyError,
    BackendConfigError,
    BackendUnavailableError,
)
from topicserve.backends.redis_store import RedisMetadataStore

pytestmark = pytest.mark.servers

LIMIT_SECONDS = 10.0
UNREACHABLE = ("127.0.0.1", 1)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Any]:
    """Run a Valkey server of the test's own, in a folder that the test may delete."""
    folder = tmp_path / "data"
    folder.mkdir()
    options = {"busy-reply-threshold": "1", "enable-debug-command": "yes"}
    with open_valkey(data_dir=folder, config=options) as running:
        yield running


@pytest.fixture
def client(server: Any) -> Iterator[Any]:
    """Return a bare client."""
    with redis.Redis(host="127.0.0.1", port=server.port) as bare:
        yield bare


@pytest.fixture
def store(server: Any) -> Iterator[RedisMetadataStore]:
    """Return a store on that server."""
    opened = RedisMetadataStore(f"redis://127.0.0.1:{server.port}/0")
    yield opened
    opened.close()


def waits(ask: Callable[[], object], word: str) -> None:
    """Assert that a call fails with a passing fault which tells the server's own word."""
    with pytest.raises(BackendBusyError, match=word):
        ask()


def test_a_script_that_runs_is_waited_for(
    server: Any, client: Any, store: RedisMetadataStore
) -> None:
    """BUSY passes, in a read, in a pipeline of writes and in the look at the start."""
    store.ping()  # connected before: a new connection's greeting is refused too
    with redis.Redis(host="127.0.0.1", port=server.port) as other:
        script = threading.Thread(target=_run_forever, args=(other,))
        script.start()
        try:
            _until(lambda: _fails(client.ping))
            waits(store.ping, "BUSY")
            waits(lambda: store.put_many({"a": b"{}", "b": b"{}"}), "BUSY")
            waits(lambda: store.get_many(["a"]), "BUSY")
        finally:
            client.script_kill()
            script.join(LIMIT_SECONDS)

    store.put_many({"a": b"{}"})
    assert store.get_many(["a"]) == [b"{}"]


def test_a_server_that_takes_no_writes_is_waited_for(
    client: Any, store: RedisMetadataStore, tmp_path: Path
) -> None:
    """NOREPLICAS, OOM, READONLY, MASTERDOWN and MISCONF pass, and writes go on after them."""
    store.put_many({"a": b"{}"})

    client.config_set("min-replicas-to-write", 1)
    waits(lambda: store.put_many({"a": b"1"}), "NOREPLICAS")
    client.config_set("min-replicas-to-write", 0)

    client.config_set("maxmemory", 1)
    waits(lambda: store.put_many({"a": b"1"}), "OOM")
    client.config_set("maxmemory", 0)

    client.replicaof(*UNREACHABLE)
    waits(lambda: store.put_many({"a": b"1"}), "READONLY")
    client.config_set("replica-serve-stale-data", "no")
    waits(lambda: store.get_many(["a"]), "MASTERDOWN")
    client.replicaof("NO", "ONE")

    client.config_set("save", "3600 1")
    shutil.rmtree(tmp_path / "data")
    client.bgsave()
    _until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")
    waits(lambda: store.put_many({"a": b"1"}), "MISCONF")
    waits(store.ping, "MISCONF")
    client.config_set("save", "")

    store.put_many({"a": b"2"})
    assert store.get_many(["a"]) == [b"2"]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (b"-LOADING Redis is loading the dataset in memory\r\n", BackendBusyError),
        (b"-CLUSTERDOWN The cluster is down\r\n", BackendBusyError),
        (b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n", BackendBusyError),
        (b"-ERR max number of clients reached\r\n", BackendUnavailableError),
        (b"-MOVED 3999 127.0.0.1:6381\r\n", BackendConfigError),
        (b"-NOAUTH Authentication required.\r\n", AuthenticationError),
        (b"-NOPERM this user has no permissions\r\n", AuthenticationError),
        (b":1\r\n", None),
    ],
    ids=lambda value: value.split()[0].decode() if isinstance(value, bytes) else "",
)
def test_what_a_server_refuses_with_is_told(reply: bytes, kind: type[Exception] | None) -> None:
    """Each error reply means the same in a pipeline as in an answer of its own."""
    with open_resp_server(lambda _: reply) as url:
        store = RedisMetadataStore(url)
        if kind is not None:
            with pytest.raises(kind):
                store.ping()
            with pytest.raises(kind) as found:
                store.put_many({"a": b'{"private": 1}', "b": b"{}"})
            assert "private" not in str(found.value)
        with pytest.raises(kind or BackendUnavailableError):
            store.get_many(["a"])
        store.close()


def test_an_error_about_one_key_leaves_the_others_alone() -> None:
    """A proxy puts it in the place of the value: that record's metadata is then no JSON object."""
    reply = b"*3\r\n$2\r\n{}\r\n-WRONGTYPE Operation against a key\r\n$-1\r\n"
    with open_resp_server(lambda _: reply) as url:
        store = RedisMetadataStore(url)

        found = store.get_many(["a", "b", "c"])

        assert found == [b"{}", b"not a string: WRONGTYPE Operation against a key", None]
        store.close()


@pytest.mark.parametrize(
    ("value", "kind"),
    [(b"-LOADING shard 2\r\n", BackendBusyError), (b"-NOPERM shard 2\r\n", AuthenticationError)],
)
def test_an_error_about_a_whole_server_is_told(value: bytes, kind: type[Exception]) -> None:
    """A proxy whose second server cannot answer is waited for, or refused us."""
    with open_resp_server(lambda _: b"*2\r\n$2\r\n{}\r\n" + value) as url:
        store = RedisMetadataStore(url)

        with pytest.raises(kind):
            store.get_many(["a", "b"])
        store.close()


@pytest.mark.parametrize("reply", [b"*0\r\n", b"*1\r\n$2\r\n{}\r\n", b"+OK\r\n", b"$-1\r\n"])
def test_an_answer_to_something_else_is_asked_for_again(reply: bytes) -> None:
    """Metadata is never given to the wrong record, and the next question gets its own answer."""
    replies = iter([reply, b"*2\r\n$2\r\n{}\r\n$-1\r\n"])
    with open_resp_server(lambda _: next(replies)) as url:
        store = RedisMetadataStore(url)

        with pytest.raises(BackendUnavailableError):
            store.get_many(["a", "b"])
        assert store.get_many(["a", "b"]) == [b"{}", None]
        store.close()


def test_a_greeting_of_something_else_is_told() -> None:
    """What listens there and is no Redis is a fault of the configuration."""

    def answer(command: list[bytes]) -> bytes:
        raise AssertionError(f"asked {command} after a wrong greeting")

    with (
        open_resp_server(answer, greetings={b"HELLO": b"+OK\r\n"}) as url,
        pytest.raises(BackendConfigError),
    ):
        RedisMetadataStore(url).ping()


def _run_forever(client: Any) -> None:
    with suppress(redis.RedisError):
        client.eval("while true do end", 0)


def _fails(call: Callable[[], object]) -> bool:
    try:
        call()
    except redis.ResponseError:
        return True
    return False


def _until(holds: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(int(LIMIT_SECONDS / 0.02)):
        if holds():
            return
        pause.wait(0.02)
    raise AssertionError("it did not come about in time")


def test_a_password_that_changes_is_told_and_the_old_one_works_again(
    client: Any, store: RedisMetadataStore
) -> None:
    """Open connections go on until they are closed; new ones are refused."""
    store.put_many({"a": b"{}"})
    client.config_set("requirepass", "other")
    store.close()

    with pytest.raises(AuthenticationError, match="refused the user or password"):
        store.request_many(["a"])

    client.config_set("requirepass", "")
    assert store.get_many(["a"]) == [b"{}"]
