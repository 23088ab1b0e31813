"""What the worker relies on of CPython, and that it starts on nothing else (ADR 0016)."""

import sys
import threading
from types import SimpleNamespace

import pytest

from topicserve.cli.errors import UsageError
from topicserve.cli.interpreter import check_interpreter


class Ending:
    """Notes on which thread it ends."""

    def __init__(self, ended: list[int]) -> None:
        self._ended = ended

    def __del__(self) -> None:
        self._ended.append(threading.get_ident())


def test_this_python_is_taken() -> None:
    """The tests run on what workers run on."""
    check_interpreter()


def test_another_python_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its objects end later, or two threads run at once."""
    monkeypatch.setattr(sys, "implementation", SimpleNamespace(name="pypy"))

    with pytest.raises(UsageError, match="needs CPython, and this is pypy"):
        check_interpreter()


def test_python_without_the_lock_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says how to have it."""
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)

    with pytest.raises(UsageError, match="PYTHON_GIL=1"):
        check_interpreter()


def test_an_object_ends_with_its_last_reference_on_the_thread_that_drops_it() -> None:
    """Delivery reports and dropped handles rely on it."""
    ended: list[int] = []
    dropping = threading.Thread(target=[Ending(ended)].clear)

    dropping.start()
    dropping.join()

    assert ended == [dropping.ident]


def test_a_list_counts_what_threads_append_and_pop() -> None:
    """Handles rely on it: no append and no pop is lost, however threads take turns."""
    counted: list[None] = []
    before = sys.getswitchinterval()

    def work() -> None:
        for _ in range(20_000):
            counted.append(None)
            counted.append(None)
            counted.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)

    assert len(counted) == 4 * 20_000


def test_a_frame_tells_where_it_was_called() -> None:
    """Dropped handles are reported with the place where they were taken."""

    def called() -> str:
        caller = sys._getframe(1)
        return caller.f_code.co_name

    assert called() == "test_a_frame_tells_where_it_was_called"
