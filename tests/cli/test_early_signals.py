import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

LIMIT_SECONDS = 60
CONFIG = """
[topics]
input = ["in"]
output = "out"
[[servables]]
name = "m"
base_path = "/nowhere"
[kafka]
bootstrap_servers = "127.0.0.1:1"
[metadata]
redis_url = "redis://127.0.0.1:PORT"
timeout_seconds = 0.2
"""


def starting_worker(tmp_path: Path, redis_port: int = 1) -> "subprocess.Popen[str]":
    """Start a worker whose interpreter writes a line whenever it has imported a module."""
    path = tmp_path / "worker.toml"
    path.write_text(CONFIG.replace("PORT", str(redis_port)))
    return subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "topicserve", "worker", "--config", str(path)],
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        text=True,
    )


def end(worker: "subprocess.Popen[str]", number: signal.Signals) -> tuple[int, str]:
    """Send a signal, and return the exit code and the last of what was written."""
    assert worker.stderr is not None
    worker.send_signal(number)
    try:
        written = worker.stderr.read()
        return worker.wait(LIMIT_SECONDS), written[-2000:]
    finally:
        worker.kill()


@pytest.mark.parametrize(
    "imported", ["threading", "argparse", "topicserve.backends.errors", "topicserve.cli.progress"]
)
def test_ctrl_c_while_a_command_loads_prints_no_traceback(imported: str) -> None:
    """From the first module that the program imports on; later it waits for a broker."""
    words = ["results", "--topic=t", "--bootstrap-servers=127.0.0.1:1"]
    with subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "topicserve", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        text=True,
    ) as loading:
        assert loading.stderr is not None
        assert any(line.split("|")[-1].strip() == imported for line in loading.stderr)
        code, written = end(loading, signal.SIGINT)

    assert code == 130, written
    assert "Traceback" not in written


@pytest.mark.parametrize(
    ("number", "imported"),
    [
        (signal.SIGTERM, "threading"),
        (signal.SIGINT, "threading"),
        (signal.SIGTERM, "redis"),
        (signal.SIGTERM, "topicserve.worker.config.loading"),
    ],
)
def test_a_worker_that_is_stopped_while_it_starts_ends_well(
    number: signal.Signals, imported: str, tmp_path: Path
) -> None:
    """From the first module that the program imports on."""
    with starting_worker(tmp_path) as worker:
        assert worker.stderr is not None
        assert any(line.split("|")[-1].strip() == imported for line in worker.stderr)
        code, written = end(worker, number)

    assert code == 0, written


def test_a_worker_that_is_stopped_while_it_connects_ends_well(tmp_path: Path) -> None:
    """A store that takes the connection and says nothing does not hold up the stop."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(LIMIT_SECONDS)
        with starting_worker(tmp_path, silent.getsockname()[1]) as worker:
            connection, _ = silent.accept()
            code, written = end(worker, signal.SIGTERM)
            connection.close()

    assert code == 0, written
