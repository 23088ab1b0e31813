"""Programs that tests and benchmarks start: logs kept in files, ended for certain."""

import ctypes
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

_CHECKOUT = Path(__file__).parents[3]
LOG_TAIL_LINES = 40
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


class ChildProcess:
    """One program in a session of its own: stderr appended to a log file, stdout read by line.

    Leaving the context kills it and whatever it started, and it is ended when the process that
    started it ends. Once it has ended it may be started again, with the same command and the same
    log. What it writes to stdout must be a few lines: no one empties the pipe unless asked to.
    """

    def __init__(
        self, command: Sequence[str], log_path: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.command = list(command)
        self.log_path = log_path
        self._environment = os.environ | {"PYTHONUNBUFFERED": "1"} | dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    def start(self) -> None:
        """Start the program; returns before it is ready."""
        if self.running:
            raise RuntimeError(f"is already running: {self.command}")
        with self.log_path.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=_CHECKOUT,
                env=self._environment,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )

    @property
    def pid(self) -> int:
        """Return the id of the process that was started last."""
        if self._process is None:
            raise RuntimeError(f"was never started: {self.command}")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Tell whether the program is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Return the exit code, negative for a signal, None while it runs."""
        return None if self._process is None else self._process.poll()

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the program alone, not to what it started."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End the program and its children with SIGKILL, and wait for it."""
        if self._process is None:
            return
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def wait(self, limit_seconds: float) -> int:
        """Wait for the program to end by itself and return its exit code."""
        assert self._process is not None
        try:
            return self._process.wait(limit_seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"still running after {limit_seconds} s: {self.command}\n{self.log_tail()}"
            ) from None

    def read_line(self, limit_seconds: float) -> str:
        """Return the next line of stdout, without its end; the program must be alive and tell."""
        assert self._process is not None
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        line = b""
        deadline = time.monotonic() + limit_seconds
        while not line.endswith(b"\n"):
            readable, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
            byte = os.read(pipe, 1) if readable else b""
            if not byte:
                why = "stdout was closed" if readable else f"no line within {limit_seconds} s"
                raise AssertionError(f"{why}: {self.command}\n{self.log_tail()}")
            line += byte
        return line[:-1].decode()

    def log(self) -> str:
        """Return what the program has written since it was last started."""
        if not self.log_path.exists():
            return ""
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def log_tail(self, lines: int = LOG_TAIL_LINES) -> str:
        """Return the end of the whole log, for the message of a failure."""
        if not self.log_path.exists():
            return f"{self.log_path} is empty"
        text = self.log_path.read_text(errors="replace").splitlines()
        return "\n".join([f"--- the end of {self.log_path}", *text[-lines:]])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()


def _end_with_parent() -> None:
    """Have Linux kill this process when the thread that starts it ends: here, the main thread."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
