import subprocess
import sys
import threading

import pytest

from topicserve.worker.runtime.stop_watchdog import stop_watchdog

HANGS_WITH_THE_LOCK = """
import ctypes, faulthandler, threading
from topicserve.worker.runtime.stop_watchdog import stop_watchdog
stop, armed = threading.Event(), threading.Event()
def arm(seconds):
    faulthandler.dump_traceback_later(seconds, exit=True)
    armed.set()
with stop_watchdog(stop, 0.3, arm):
    stop.set()
    armed.wait()
    ctypes.PyDLL(None).sleep(60)  # keeps the interpreter's lock
"""


def test_a_process_that_hangs_with_the_interpreters_lock_ends_with_its_traceback() -> None:
    """Nothing in Python could end it any more."""
    ended = subprocess.run(
        [sys.executable, "-c", HANGS_WITH_THE_LOCK], capture_output=True, timeout=30, check=False
    )

    assert ended.returncode == 1
    assert b"Timeout" in ended.stderr
    assert b'File "<string>", line 11 in <module>' in ended.stderr


HANGS_WITHOUT_STANDARD_ERROR = """
import ctypes, os, sys, threading
from topicserve.worker import stop_watchdog
os.close(2)
sys.stderr = None
stop, armed = threading.Event(), threading.Event()
def arm(seconds):
    stop_watchdog._arm(seconds)
    armed.set()
with stop_watchdog.stop_watchdog(stop, 0.3, arm):
    stop.set()
    armed.wait()
    ctypes.PyDLL(None).sleep(60)  # keeps the interpreter's lock
"""


def test_a_process_without_standard_error_ends_too() -> None:
    """There is no place for the traceback; the end matters more."""
    ended = subprocess.run(
        [sys.executable, "-c", HANGS_WITHOUT_STANDARD_ERROR], timeout=30, check=False
    )

    assert ended.returncode == 1


def test_the_time_counts_from_the_stop_and_ends_with_it() -> None:
    """A worker that serves is never ended."""
    stop, armed = threading.Event(), threading.Event()
    calls: list[float] = []

    def arm(seconds: float) -> None:
        calls.append(seconds)
        armed.set()

    with stop_watchdog(stop, 90, arm, lambda: calls.append(-1)):
        before = list(calls)
        stop.set()
        assert armed.wait(10)

    assert before == []
    assert calls == [90, -1]


def test_it_is_disarmed_when_the_body_fails() -> None:
    """Anyone who catches the error goes on living."""
    calls: list[str] = []

    with (
        pytest.raises(RuntimeError),
        stop_watchdog(
            threading.Event(), 90, lambda _: calls.append("armed"), lambda: calls.append("disarmed")
        ),
    ):
        raise RuntimeError

    assert calls == ["disarmed"]
