"""A server in a process of its own, for as long as its parent lives."""

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

START_TIMEOUT_SECONDS = 20.0
STOP_TIMEOUT_SECONDS = 10.0
HOST = "127.0.0.1"


class ServerStartError(Exception):
    """The server did not come up; the message says what it said."""


class ServerProcess:
    """Starts a program that writes one line to its standard output once it answers.

    The program ends with SIGTERM, and with its parent, however that ends.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._process: subprocess.Popen[bytes] | None = None

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
        if self.running:
            return
        self._process = subprocess.Popen(
            self._command(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            self._ready(self._first_line())
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the process; kills it where it does not end in time."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIMEOUT_SECONDS)
        if process.poll() is None:
            process.kill()
            process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()

    def kill(self) -> None:
        """End the process with SIGKILL, as a crash would."""
        os.kill(self.pid, signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
        self.stop()

    def _command(self) -> Sequence[str]:
        """Return the program and its arguments."""
        raise NotImplementedError

    def _ready(self, line: bytes) -> None:
        """Take the first line in."""
        raise NotImplementedError

    def _first_line(self) -> bytes:
        process = self._process
        assert process is not None
        assert process.stdout is not None
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        line = b""
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            readable, _, _ = select.select([process.stdout], [], [], max(left, 0))
            chunk = os.read(process.stdout.fileno(), 4096) if readable else b""
            if not chunk:
                raise ServerStartError(f"{self._name} did not start: {self._why(process)}")
            line += chunk
        return line

    def _why(self, process: "subprocess.Popen[bytes]") -> str:
        process.kill()
        _, said = process.communicate()
        last = said.decode(errors="replace").strip().splitlines()
        return last[-1] if last else f"it said nothing within {START_TIMEOUT_SECONDS:.0f} seconds"
