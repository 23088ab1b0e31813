import subprocess
import sys
import threading

import pytest

from topicserve.worker.supervisor.replica import ReplicaProcess, RestartPolicy

LIMIT_SECONDS = 20


class Changes:
    """Lets a test wait until something has changed a number of times."""

    def __init__(self) -> None:
        self._semaphore = threading.Semaphore(0)

    def __call__(self) -> None:
        self._semaphore.release()

    def wait(self) -> None:
        assert self._semaphore.acquire(timeout=LIMIT_SECONDS)


def python(code: str, changes: Changes) -> ReplicaProcess:
    """Return a process that runs this code in place of a worker."""
    return ReplicaProcess([sys.executable, "-c", code], changes)


def test_the_line_that_says_ready_is_the_address() -> None:
    """It is there once the process has printed it, and not before."""
    changes = Changes()
    replica = python("input(); print('http://h:1', flush=True); input()", changes)
    assert replica._process.stdin is not None

    assert replica.address == ""
    replica._process.stdin.write(b"\n")
    replica._process.stdin.flush()
    changes.wait()

    assert replica.address == "http://h:1"
    assert replica.exit_code is None
    replica.kill()
    changes.wait()
    assert replica.exit_code == -9


def test_an_end_without_a_line_is_noticed() -> None:
    """With the code that it ended with."""
    changes = Changes()
    replica = python("raise SystemExit(2)", changes)

    changes.wait()

    assert (replica.address, replica.exit_code) == ("", 2)


def test_what_a_replica_prints_is_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    """All but its address, also before it is ready: spans of a console exporter, for example."""
    changes = Changes()
    replica = python(
        "print('loading'); print('http://h:1'); [print('x' * 1000) for _ in range(1000)]"
        "; print('no end', end='')",
        changes,
    )

    changes.wait()
    changes.wait()

    assert (replica.address, replica.exit_code) == ("http://h:1", 0)
    assert capfd.readouterr().out == "loading\n" + 1000 * ("x" * 1000 + "\n") + "no end"


def test_lines_of_replicas_are_not_mixed() -> None:
    """What is passed on ends with a line's end, however it was written."""
    changes, passed = Changes(), list[bytes]()
    code = "import sys; [(sys.stdout.write(c), sys.stdout.flush()) for c in 'one\\ntwo\\n' * 50]"
    replica = ReplicaProcess([sys.executable, "-c", code], changes, passed.append)

    changes.wait()

    assert replica.exit_code == 0
    assert b"".join(passed) == b"one\ntwo\n" * 50
    assert [lines for lines in passed if not lines.endswith(b"\n")] == []


def test_output_that_is_closed_holds_no_replica_up() -> None:
    """What it prints is dropped then, and its pipe does not fill."""
    closed = "import os, sys; os.close(1); sys.path.insert(0, ''); "
    code = closed + (
        "from topicserve.worker.supervisor.replica import to_standard_output as put; put(b'x')"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_it_can_be_asked_to_end() -> None:
    """By SIGTERM."""
    changes = Changes()
    replica = python("print('http://h:1', flush=True); input()", changes)
    changes.wait()

    replica.terminate()
    changes.wait()

    assert replica.exit_code == -15


def test_pauses_double_up_to_a_limit() -> None:
    """A replica that cannot start does not take the machine's time."""
    policy = RestartPolicy()

    pauses = [policy.pause_seconds(ran_seconds=1) for _ in range(2000)]

    assert pauses[:7] == [0.5, 1, 2, 4, 8, 16, 30]
    assert set(pauses[7:]) == {30}


def test_a_replica_that_ran_well_is_started_again_at_once() -> None:
    """Whatever its past."""
    policy = RestartPolicy()
    for _ in range(5):
        policy.pause_seconds(ran_seconds=1)

    assert policy.pause_seconds(ran_seconds=60) == 0.5
    assert policy.pause_seconds(ran_seconds=1) == 1
