"""SIGTERM and SIGINT: the first asks for a clean end, the second ends the process at once.

For the commands `worker` (and its supervisor) and `replay`, whose main threads set it up. A clean
end has its time: `StopTime`.
"""

import os
import signal
import socket
import threading
from collections.abc import Callable, Container, Generator
from contextlib import contextmanager

from topicserve.exit_codes import EXIT_INTERRUPTED

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# A worker that still starts has polled nothing, so it has nothing to finish.
START_STOP_SECONDS = 5.0


class StopTime:
    """When a worker's stop began, and what is left of the time that it may take.

    The polling thread looks whether it has begun; any thread may ask what is left.
    """

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self.is_asked: Callable[[], bool] = lambda: False
        """Whether the worker is to stop."""
        self._seconds = seconds
        self._clock = clock
        self._since: float | None = None

    def begun(self) -> bool:
        """Return whether to stop; the time runs from the first look that sees it."""
        if self._since is None and self.is_asked():
            self._since = self._clock()
        return self._since is not None

    @property
    def left_seconds(self) -> float:
        """Return what is left, all of it before the stop has begun."""
        if self._since is None:
            return self._seconds
        return max(self._since + self._seconds - self._clock(), 0.0)


@contextmanager
def stop_signals(
    stop: threading.Event,
    exit_now: Callable[[int], None] = os._exit,
    is_starting: Callable[[], bool] = lambda: False,
    start_stop_seconds: float = START_STOP_SECONDS,
    start_exit_code: int = 0,
) -> Generator[Container[int]]:
    """Set `stop` at the first signal and call `exit_now` at the second. For the main thread.

    Yields the signals that have come. Where the program still starts at that time and the first
    signal has not ended it after `start_stop_seconds`, `exit_now` is called with `start_exit_code`:
    a start waits for others' answers.

    Python runs its own signal handlers in the main thread, and only once that thread is back from
    whatever C code it is in: a frozen model would make the second signal useless as well. So the
    interpreter writes the signals to a socket, and a thread reads them.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    come: set[int] = set()
    thread = threading.Thread(
        target=_follow,
        args=(reader, stop, exit_now, is_starting, start_stop_seconds, start_exit_code, come),
        name="signals",
        daemon=True,
    )
    thread.start()
    before_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    before = [signal.signal(number, _nothing) for number in SIGNALS]
    try:
        yield come
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)
        signal.set_wakeup_fd(before_fd)
        writer.close()
        thread.join()
        reader.close()


def stop_at_end_of(descriptor: int, stop: threading.Event) -> None:
    """Set `stop` when a pipe ends: the parent that held its other end is gone.

    However it went: a parent that was killed cannot send a signal any more.
    """

    def follow() -> None:
        while os.read(descriptor, 1024):
            pass
        stop.set()

    threading.Thread(target=follow, name="parent", daemon=True).start()


def _nothing(number: int, frame: object) -> None:
    """Keep the signal from what it does by default; the thread acts on it."""


def _follow(
    reader: socket.socket,
    stop: threading.Event,
    exit_now: Callable[[int], None],
    is_starting: Callable[[], bool],
    start_stop_seconds: float,
    start_exit_code: int,
    come: set[int],
) -> None:
    while True:
        try:
            numbers = reader.recv(64)
        except TimeoutError:
            reader.settimeout(None)
            if is_starting():
                exit_now(start_exit_code)
            continue
        if not numbers:
            return
        for number in numbers:
            if number not in SIGNALS:
                continue
            if stop.is_set():
                exit_now(EXIT_INTERRUPTED)
            come.add(number)
            stop.set()
            reader.settimeout(start_stop_seconds if is_starting() else None)
