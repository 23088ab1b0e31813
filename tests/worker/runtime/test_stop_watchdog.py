import subprocess
import sys
import threading

import pytest

from topicserve.worker.config.schema import DeliveryConfig
from topicserve.worker.runtime.stop_watchdog import frozen_limit_seconds, stop_watchdog

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
from topicserve.worker.runtime import stop_watchdog
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


FREEZES = """
import ctypes, faulthandler, threading
from topicserve.worker.runtime.stop_watchdog import stop_watchdog
stop, armed = threading.Event(), threading.Event()
def arm(seconds):
    faulthandler.dump_traceback_later(seconds, exit=True)
    armed.set()
with stop_watchdog(stop, 900, arm, frozen_seconds=1, beat_seconds=0.01) as serving:
    serving()
    armed.wait()
    ctypes.PyDLL(None).sleep(60)  # keeps the interpreter's lock, as native code of a model may
"""


def test_a_process_that_freezes_while_it_serves_ends_with_its_traceback() -> None:
    """No thread can see that a prediction does not return, and none can answer a signal."""
    ended = subprocess.run([sys.executable, "-c", FREEZES], capture_output=True, check=False)

    assert ended.returncode == 1
    assert b"Timeout" in ended.stderr
    assert b'File "<string>", line 11 in <module>' in ended.stderr


def test_the_timer_is_set_again_while_python_runs_until_the_stop_takes_it() -> None:
    """So it only ends a process in which no thread runs, and the stop's time is the last."""
    stop = threading.Event()
    calls: list[float] = []
    beats, stopped = threading.Semaphore(0), threading.Event()

    def arm(seconds: float) -> None:
        calls.append(seconds)
        beats.release()
        if seconds == 90:
            stopped.set()

    with stop_watchdog(
        stop, 90, arm, lambda: calls.append(-1), frozen_seconds=150, beat_seconds=0.001
    ) as serving:
        serving()
        assert all(beats.acquire(timeout=10) for _ in range(3))
        stop.set()
        assert stopped.wait(10)

    assert calls[-2:] == [90, -1]
    assert set(calls[:-2]) == {150}


def test_the_timer_is_set_before_the_first_record_is_polled() -> None:
    """That one may keep the interpreter's lock, before the first beat."""
    calls: list[float] = []

    with stop_watchdog(
        threading.Event(), 90, calls.append, lambda: None, frozen_seconds=150, beat_seconds=900
    ) as serving:
        serving()
        at_once = list(calls)

    assert at_once == [150]


def test_a_beat_without_a_thread_for_the_timer_is_tried_again() -> None:
    """A machine that is out of threads for a moment leaves the worker a watchdog."""
    stop, armed = threading.Event(), threading.Event()
    calls: list[float] = []

    def arm(seconds: float) -> None:
        calls.append(seconds)
        if len(calls) == 1:
            raise RuntimeError("unable to start watchdog thread")
        armed.set()

    with stop_watchdog(stop, 90, arm, lambda: None, beat_seconds=0.001) as serving:
        serving()
        assert armed.wait(10)


@pytest.mark.parametrize(
    ("delivery", "seconds"),
    [
        (DeliveryConfig(), 150),
        (DeliveryConfig(predict_timeout_seconds=0.1), 30.1),
        (DeliveryConfig(predict_timeout_seconds=0, stall_timeout_seconds=300), 330),
    ],
)
def test_a_process_may_freeze_for_longer_than_a_prediction_may_take(
    delivery: DeliveryConfig, seconds: float
) -> None:
    """And never for less than half a minute: a machine may be paused for a moment."""
    assert frozen_limit_seconds(delivery) == pytest.approx(seconds)


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
