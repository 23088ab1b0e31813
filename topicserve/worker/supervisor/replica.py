"""One worker process as its supervisor sees it, and when to start it again."""

import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from io import BufferedReader
from typing import Protocol, cast

from topicserve.backoff import Backoff
from topicserve.worker.http.server import READY_WITHOUT_HTTP

MAX_LINE_BYTES = 1024 * 1024
"""What is kept of a line until its end has come."""
STANDARD_OUTPUT = 1
_READ_BYTES = 64 * 1024
_READY = re.compile(rb"https?://|" + READY_WITHOUT_HTTP.encode())
_OUTPUT_LOCK = threading.Lock()


class Replica(Protocol):
    """A worker process that was started. Calls return at once."""

    @property
    def address(self) -> str:
        """Return what it printed when it was ready: its HTTP address; empty before."""

    @property
    def exit_code(self) -> int | None:
        """Return its exit code (negative: a signal), None while it runs."""

    def terminate(self) -> None:
        """Ask it to finish what it has and end."""

    def kill(self) -> None:
        """End it at once."""


class ReplicaProcess:
    """A worker in a process and session of its own.

    Of its own, because a Ctrl-C in the terminal would otherwise reach the worker as well, besides
    what the supervisor passes on, and a worker's second signal ends it at once. A pipe ties its
    life to the supervisor's: it stops, orderly, when its standard input ends.

    A daemon thread reads what it prints and then waits for its end; it calls `changed` when it is
    ready and when it has ended. Its standard output is a pipe, because the address is printed
    there; all else that comes goes to `output`, in whole lines. Any thread may ask and signal it.
    """

    def __init__(
        self,
        command: Sequence[str],
        changed: Callable[[], None],
        output: Callable[[bytes], None] | None = None,
    ) -> None:
        """Start it; `output` writes to this process's standard output by default."""
        self._changed = changed
        self._output = output or to_standard_output
        self._address = ""
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        threading.Thread(target=self._follow, name="replica", daemon=True).start()

    @property
    def address(self) -> str:
        """Return the line that says that it is ready."""
        return self._address

    @property
    def exit_code(self) -> int | None:
        """Return it as subprocess has it."""
        return self._process.poll()

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._process.terminate()

    def kill(self) -> None:
        """Send SIGKILL."""
        self._process.kill()

    def _follow(self) -> None:
        """Take the line that says ready, pass on what else is printed, and wait for the end."""
        assert self._process.stdout is not None
        assert self._process.stdin is not None
        with self._process.stdout as pipe:
            for lines in _whole_lines(cast(BufferedReader, pipe)):
                rest = lines if self._address else self._take_address(lines)
                if rest:
                    self._output(rest)
        self._process.wait()
        self._process.stdin.close()
        self._changed()

    def _take_address(self, lines: bytes) -> bytes:
        """Return the lines without the one that says ready: a model may print before it does."""
        others = []
        for line in lines.splitlines(keepends=True):
            if not self._address and _READY.match(line):
                self._address = line.decode(errors="replace").strip()
                self._changed()
            else:
                others.append(line)
        return b"".join(others)


def _whole_lines(pipe: BufferedReader) -> Iterator[bytes]:
    """Yield what is printed when it comes, up to the end of a line; a long line in parts.

    So lines of two replicas are not mixed, and what one writes at once is seldom divided.
    """
    kept = b""
    while more := pipe.read1(_READ_BYTES):
        kept += more
        end = len(kept) if len(kept) >= MAX_LINE_BYTES else kept.rfind(b"\n") + 1
        if end:
            yield kept[:end]
            kept = kept[end:]
    if kept:
        yield kept


def to_standard_output(lines: bytes) -> None:
    """Write lines at once; drop them where standard output takes no more, for the worker goes on.

    Any thread may call it.
    """
    with _OUTPUT_LOCK, suppress(OSError):
        while lines:
            lines = lines[os.write(STANDARD_OUTPUT, lines) :]


class RestartPolicy:
    """How long to wait before a replica that ended is started again.

    The first time nearly not at all, so that its partitions are served again at once; longer and
    longer where it keeps ending soon after its start.
    """

    BACKOFF = Backoff(0.5, 30.0)
    STABLE_SECONDS = 60.0

    def __init__(self) -> None:
        self._ended_soon = 0

    def pause_seconds(self, ran_seconds: float) -> float:
        """Return the pause after a run of this length."""
        if ran_seconds >= self.STABLE_SECONDS:
            self._ended_soon = 0
        self._ended_soon += 1
        return self.BACKOFF.pause_seconds(self._ended_soon)
