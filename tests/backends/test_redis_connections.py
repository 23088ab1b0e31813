import os
from typing import Any

import pytest

from tests.support.redis.valkey import open_valkey
from tests.support.stages.records import ManualClock
from topicserve.backends.redis_connections import CHECKED_SECONDS, RecentConnections
from topicserve.backends.redis_store import RedisMetadataStore


class Connection:
    """One that notes whether it was closed."""

    is_open = True

    def disconnect(self) -> None:
        """Close it."""
        self.is_open = False


class Pool:
    """Counts its looks, as redis-py's pool looks at each connection that it gives."""

    def __init__(self) -> None:
        self.idle: list[Any] = []
        self.looks = 0

    def get_connection(self) -> Any:
        """Look at a connection and return it."""
        self.looks += 1
        return self.idle.pop() if self.idle else Connection()

    def release(self, connection: Any) -> None:
        """Take a connection back."""
        self.idle.append(connection)


@pytest.fixture
def pool() -> Pool:
    """Return an empty pool."""
    return Pool()


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock that stands."""
    return ManualClock()


@pytest.fixture
def recent(pool: Pool, clock: ManualClock) -> RecentConnections:
    """Return connections of the pool."""
    return RecentConnections(pool, clock)


def test_the_pool_looks_at_a_connection_once_a_second(
    pool: Pool, clock: ManualClock, recent: RecentConnections
) -> None:
    """However often it is used meanwhile; it stays the same one."""
    used, looks = set(), []
    for _ in range(3):
        for _ in range(10):
            taken = recent.take()
            used.add(taken.connection)
            recent.give_back(taken)
        looks.append(pool.looks)
        clock.advance(CHECKED_SECONDS)

    assert looks == [1, 2, 3]
    assert len(used) == 1


def test_each_user_has_a_connection_of_its_own(recent: RecentConnections) -> None:
    """As many as are used at once, and no more."""
    first, second = recent.take(), recent.take()
    recent.give_back(first)
    recent.give_back(second)

    assert {recent.take().connection, recent.take().connection} == {
        first.connection,
        second.connection,
    }


def test_after_a_failure_the_pool_looks_at_all(pool: Pool, recent: RecentConnections) -> None:
    """The server may have closed them all; the one that failed is closed."""
    failed, other = recent.take(), recent.take()
    recent.give_back(other)

    recent.discard(failed)

    assert not failed.connection.is_open
    assert set(pool.idle) == {failed.connection, other.connection}
    looks = pool.looks
    recent.take()
    assert pool.looks == looks + 1


def test_a_child_process_leaves_its_parents_connections_alone(
    pool: Pool, recent: RecentConnections
) -> None:
    """Neither uses them nor gives them to its pool."""
    parents = recent.take()
    recent.give_back(parents._replace(process=os.getpid() + 1))

    taken = recent.take()
    recent.give_back(parents._replace(process=os.getpid() + 1))
    recent.release_all()

    assert taken.connection is not parents.connection
    assert pool.idle == []


@pytest.mark.servers
def test_a_pool_of_one_connection_is_enough() -> None:
    """What is kept after metadata was fetched is there for every other call."""
    with open_valkey() as server:
        store = RedisMetadataStore(f"redis://127.0.0.1:{server.port}/0?max_connections=1")
        store.put_many({"a": b"{}"})
        for _ in range(3):
            assert store.get_many(["a"]) == [b"{}"]
            store.ping()
        store.delete_many(["a"])
        assert store.get_many(["a"]) == [None]
        store.close()
