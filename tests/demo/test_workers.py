import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from topicserve.demo.errors import DemoError
from topicserve.demo.workers import WorkerProcess

BAD_CONFIG = "[topics]\n"


@contextmanager
def a_worker(folder: Path, program: str | None = None) -> Iterator[WorkerProcess]:
    """Start a worker on a bad configuration, or a stand-in that runs a program."""
    config = folder / "worker.toml"
    config.write_text(BAD_CONFIG)
    worker = WorkerProcess(config, "worker-1", folder / "worker-1.log")
    if program is not None:
        worker._command = [sys.executable, "-c", program]
    worker.start()
    try:
        yield worker
    finally:
        worker.kill()


def test_a_worker_that_ends_by_itself_is_told_with_its_last_word(tmp_path: Path) -> None:
    """No one has to look for why; the log file is named."""
    with a_worker(tmp_path) as worker:
        worker.wait()

        with pytest.raises(DemoError, match=r"exit code 2: .*topics\.\w+.*worker-1\.log"):
            worker.check()


def test_an_error_counts_more_than_what_was_said_after_it(tmp_path: Path) -> None:
    """Libraries go on talking."""
    program = "import sys; sys.stderr.write('1Z ERROR worker_failed\\n2Z INFO bye\\n')"
    with a_worker(tmp_path, program) as worker:
        worker.wait()

        with pytest.raises(DemoError, match="worker_failed"):
            worker.check()


def test_a_worker_that_runs_is_not_complained_of(tmp_path: Path) -> None:
    """It is not ready before it has said where it answers."""
    with a_worker(tmp_path, "input()") as worker:
        worker.check()

        assert not worker.ready
        assert worker.exit_code is None


def test_killing_leaves_nothing_running(tmp_path: Path) -> None:
    """As a failing machine would."""
    with a_worker(tmp_path, "input()") as worker:
        worker.kill()

        assert worker.exit_code == -signal.SIGKILL
