import logging
import threading
from collections.abc import Callable

import pytest

from tests.support.servables.lifecycle import LIMIT_SECONDS, Gate, run_in_thread
from topicserve.servables.core.concurrency.executor import ThreadPoolExecutor

Closing = Callable[[Callable[[], object]], None]


@pytest.fixture
def two_threads(closing: Closing) -> ThreadPoolExecutor:
    """Return a pool of two."""
    pool = ThreadPoolExecutor(2, "pool")
    closing(lambda: pool.close(LIMIT_SECONDS))
    return pool


def test_work_of_a_stream_runs_in_order(two_threads: ThreadPoolExecutor) -> None:
    """On the pool's threads."""
    order: list[int] = []
    done = threading.Event()
    for number in range(10):
        two_threads.submit("a", lambda number=number: order.append(number))  # type: ignore[misc]
    two_threads.submit("a", done.set)

    assert done.wait(LIMIT_SECONDS)
    assert order == list(range(10))


def test_one_stream_never_has_all_threads(two_threads: ThreadPoolExecutor) -> None:
    """Another one's work runs, however long the first one's lasts."""
    slow, done = [Gate(), Gate()], threading.Event()
    for gate in slow:
        two_threads.submit("greedy", gate)
    slow[0].wait_until_entered()

    two_threads.submit("other", done.set)

    assert done.wait(LIMIT_SECONDS)
    assert not slow[1].is_entered
    for gate in slow:
        gate.open()


def test_streams_take_turns(closing: Closing) -> None:
    """One that came late does not wait for all of one that came early."""
    pool, gate, done = ThreadPoolExecutor(1, "pool"), Gate(), threading.Event()
    closing(lambda: pool.close(LIMIT_SECONDS))
    order: list[str] = []
    pool.submit("first", gate)
    gate.wait_until_entered()
    for _ in range(3):
        pool.submit("a", lambda: order.append("a"))
    pool.submit("b", lambda: order.append("b"))
    pool.submit("c", lambda: order.append("c"))
    pool.submit("c", done.set)
    gate.open()

    assert done.wait(LIMIT_SECONDS)
    assert order[:3] == ["a", "b", "c"]


def test_failing_work_is_logged_and_harms_nobody(
    two_threads: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    """The thread goes on."""
    done = threading.Event()

    def fail() -> None:
        raise RuntimeError("broken work")

    with caplog.at_level(logging.ERROR):
        two_threads.submit("a", fail)
        two_threads.submit("a", done.set)
        assert done.wait(LIMIT_SECONDS)

    assert "broken work" in caplog.text


def test_closing_runs_what_was_submitted_and_nothing_after() -> None:
    """And the threads end."""
    pool, gate, ran = ThreadPoolExecutor(1, "pool"), Gate(), []
    pool.submit("a", gate)
    pool.submit("a", lambda: ran.append("before"))
    gate.wait_until_entered()
    assert not pool.close(0)

    pool.submit("a", lambda: ran.append("after"))
    gate.open()

    assert pool.close(LIMIT_SECONDS)
    assert ran == ["before"]


def test_a_pool_that_was_never_used_closes_at_once() -> None:
    """It has no threads."""
    assert ThreadPoolExecutor(4, "pool").close(0)


def test_a_pool_can_grow(closing: Closing) -> None:
    """What waited for a thread has one then."""
    pool, gates = ThreadPoolExecutor(1, "pool"), [Gate() for _ in range(3)]
    closing(lambda: pool.close(LIMIT_SECONDS))
    for stream, gate in enumerate(gates):
        pool.submit(str(stream), gate)

    pool.resize(3)

    for gate in gates:
        gate.wait_until_entered()
    for gate in gates:
        gate.open()


def test_a_pool_can_shrink(closing: Closing) -> None:
    """Threads that are too many end when they have done their work."""
    pool, gates = ThreadPoolExecutor(3, "pool"), [Gate() for _ in range(3)]
    closing(lambda: pool.close(LIMIT_SECONDS))
    for stream, gate in enumerate(gates):
        pool.submit(str(stream), gate)
    for gate in gates:
        gate.wait_until_entered()

    pool.resize(1)
    for gate in gates:
        gate.open()
    with pool._changed:
        shrunk = pool._changed.wait_for(lambda: len(pool._threads) == 1, LIMIT_SECONDS)

    assert shrunk


def test_finished_work_is_not_kept(two_threads: ThreadPoolExecutor) -> None:
    """A version would otherwise live on until its thread has something else to do."""
    import weakref

    class Model:
        """Something large."""

        def use(self) -> None:
            """Do nothing."""

    model, collected = Model(), threading.Event()
    weakref.finalize(model, collected.set)
    two_threads.submit("a", model.use)
    del model

    assert collected.wait(LIMIT_SECONDS)


def test_a_pool_without_threads_makes_no_sense() -> None:
    """The error names the pool."""
    with pytest.raises(ValueError, match="pool: there must be at least one thread"):
        ThreadPoolExecutor(0, "pool")


def test_many_threads_may_submit(two_threads: ThreadPoolExecutor) -> None:
    """All of it runs."""
    ran: list[int] = []
    done = threading.Semaphore(0)

    def work() -> None:
        ran.append(1)
        done.release()

    def submit() -> None:
        for _ in range(50):
            two_threads.submit(threading.current_thread().name, work)

    for thread in [run_in_thread(submit) for _ in range(4)]:
        thread.join(LIMIT_SECONDS)
    for _ in range(200):
        assert done.acquire(timeout=LIMIT_SECONDS)

    assert len(ran) == 200
