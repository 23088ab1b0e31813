"""A state that many share is made once and torn down with its last user."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topicserve.servables.core.concurrency.shared_state import SharedState
from topicserve.servables.core.errors import FailedPreconditionError, UnavailableError


class Factory:
    """Makes numbered states, and knows which of them exist."""

    def __init__(self) -> None:
        self.made = 0
        self.alive: set[int] = set()

    def create(self) -> int:
        self.made += 1
        self.alive.add(self.made)
        return self.made

    def destroy(self, state: int) -> None:
        self.alive.remove(state)


def test_deferred_state_lives_from_first_to_last_user() -> None:
    """Nothing is made before it is needed, and nothing is left afterwards."""
    factory = Factory()
    state = SharedState(factory.create, factory.destroy)
    assert factory.made == 0

    assert [state.acquire(), state.acquire()] == [1, 1]
    state.release()
    assert factory.alive == {1}
    state.release()
    assert factory.alive == set()

    assert state.acquire() == 2


def test_eager_state_lives_until_close() -> None:
    """It is there before the first user, and after the last one."""
    factory = Factory()
    state = SharedState(factory.create, factory.destroy, eager=True)
    assert factory.alive == {1}

    assert state.acquire() == 1
    state.release()
    assert factory.alive == {1}
    state.close()
    assert factory.alive == set()


def test_close_waits_for_users_without_blocking() -> None:
    """Who uses it keeps it; no one new gets it."""
    factory = Factory()
    state = SharedState(factory.create, factory.destroy)
    state.acquire()

    state.close()

    assert factory.alive == {1}
    with pytest.raises(FailedPreconditionError, match="was closed"):
        state.acquire()
    state.release()
    assert factory.alive == set()
    state.close()


def test_failure_to_create_counts_no_user() -> None:
    """The next one tries again."""
    answers = [UnavailableError("away"), None]

    def create() -> str:
        error = answers.pop(0)
        if error is not None:
            raise error
        return "there"

    state = SharedState(create, lambda _: None)
    with pytest.raises(UnavailableError):
        state.acquire()

    assert state.acquire() == "there"


def test_release_without_acquire_is_refused() -> None:
    """It would tear the state down under someone else."""
    with pytest.raises(FailedPreconditionError, match="but not acquired"):
        SharedState(lambda: 1, lambda _: None).release()


def test_none_is_a_state() -> None:
    """What is made is no one's business, not even whether it is anything."""
    made = []
    state = SharedState(lambda: made.append(1), lambda _: None)

    state.acquire()
    state.acquire()

    assert made == [1]


def test_threads_never_see_two_states() -> None:
    """However many load and unload at once, at most one state exists."""
    factory = Factory()
    state = SharedState(factory.create, factory.destroy)
    start = threading.Barrier(4, timeout=30)

    def use(_: int) -> bool:
        start.wait()
        seen = []
        for _ in range(200):
            mine = state.acquire()
            seen.append(factory.alive == {mine})
            state.release()
        return all(seen)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(use, range(4)))
    assert factory.alive == set()


@given(eager=st.booleans(), steps=st.lists(st.sampled_from(["acquire", "release", "close"])))
def test_exists_exactly_as_long_as_it_should(eager: bool, steps: list[str]) -> None:
    """After any sequence of calls it exists for users, or because it is eager and open."""
    factory = Factory()
    state = SharedState(factory.create, factory.destroy, eager=eager)
    users, is_closed = 0, False

    for step in steps:
        if step == "close":
            state.close()
            is_closed = True
        elif step == "acquire" and not is_closed:
            state.acquire()
            users += 1
        elif step == "release" and users:
            state.release()
            users -= 1
        should_exist = users > 0 or (eager and not is_closed)
        assert len(factory.alive) == should_exist
