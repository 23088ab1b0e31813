"""A server in a process of its own, for as long as its parent lives.

The base of both embedded servers: start, the first line, stop, kill.
"""

import contextlib
import os
import select
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import IO, Self

from topicserve.errors import TopicserveError

START_TIMEOUT_SECONDS = 20.0
STOP_TIMEOUT_SECONDS = 10.0
HOST = "127.0.0.1"


class ServerStartError(TopicserveError):
    """The server did not come up; the message ends with the last line that it wrote.

    Usually its port is taken, or its data directory cannot be written to.
    """


class ServerProcess(ABC):
    """Starts a program that writes one line to its standard output once it answers.

    The program ends with SIGTERM, and when its standard input ends: no one else holds the other end
    of that pipe, so a parent that is killed takes it along.

    Not for several threads: the one that starts a server also stops it. A server that was stopped
    or killed can be started again, on the port that it had.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._process: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Return the process's id."""
        if self._process is None:
            raise RuntimeError(f"{self._name} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Return whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start, and return once it answers; raises ServerStartError."""
        if not self.running:
            self.launch()
            self.wait_until_ready()

    def launch(self) -> None:
        """Start without waiting, so that several can start at the same time.

        `wait_until_ready` must follow. Raises RuntimeError where the server runs already.
        """
        if self.running:
            raise RuntimeError(f"{self._name} is running already")
        # A file and not a pipe: no one reads a pipe for as long as the server runs.
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            self._command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            start_new_session=True,
        )

    def wait_until_ready(self) -> None:
        """Return once the launched server answers, within 20 seconds.

        Raises ServerStartError, with nothing left running.
        """
        try:
            self._ready(self._first_line())
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the process with SIGTERM, after 10 seconds with SIGKILL; return when it has ended.

        A server that is not running is left alone.
        """
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIMEOUT_SECONDS)
        self._kill(process)

    def kill(self) -> None:
        """End the process and whatever it started with SIGKILL, as a crash would."""
        process, self._process = self._process, None
        if process is not None:
            self._kill(process)

    def said(self) -> str:
        """Return what the running process has written to its standard error.

        It goes to a file, so a server that writes much never waits for a reader.
        """
        self._said.seek(0)
        return self._said.read().decode(errors="replace")

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """Return the program and its arguments."""

    @abstractmethod
    def _ready(self, line: bytes) -> None:
        """Read the address that the server listens at out of its first line.

        Called once a start, on the thread that starts the server.
        """

    def _first_line(self) -> bytes:
        process = self._process
        assert process is not None
        assert process.stdout is not None
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        line = b""
        while not line.endswith(b"\n"):
            left = max(0.0, deadline - time.monotonic())
            readable, _, _ = select.select([process.stdout], [], [], left)
            chunk = os.read(process.stdout.fileno(), 4096) if readable else b""
            if not chunk:
                said = (
                    self.said().strip() or f"no answer within {START_TIMEOUT_SECONDS:.0f} seconds"
                )
                raise ServerStartError(f"{self._name} did not start: {said.splitlines()[-1]}")
            line += chunk
        return line

    def _kill(self, process: "subprocess.Popen[bytes]") -> None:
        """End what is left of the process's session, and wait for the process."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout, self._said):
            if pipe is not None:
                pipe.close()
