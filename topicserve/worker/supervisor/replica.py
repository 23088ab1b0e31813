"""One worker process as its supervisor sees it, and when to start it again."""

import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from topicserve.backoff import Backoff

MAX_LINE_BYTES = 4096


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

    A daemon thread reads what it prints and then waits for its end; it calls `changed` at both
    moments. Any thread may ask and signal it.
    """

    def __init__(self, command: Sequence[str], changed: Callable[[], None]) -> None:
        self._changed = changed
        self._address = ""
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        threading.Thread(target=self._follow, name="replica", daemon=True).start()

    @property
    def address(self) -> str:
        """Return the first line that it printed."""
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
        """Take the line that says ready, and then wait for the end."""
        assert self._process.stdout is not None
        assert self._process.stdin is not None
        with self._process.stdout as lines:
            self._address = lines.readline(MAX_LINE_BYTES).decode(errors="replace").strip()
            self._changed()
            while lines.readline(MAX_LINE_BYTES):
                pass  # nothing else is expected, but a full pipe would stop the worker
        self._process.wait()
        self._process.stdin.close()
        self._changed()


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
