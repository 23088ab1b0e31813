"""SIGTERM and SIGINT: the first asks for a clean end, the second ends the process at once."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

SIGNALS = (signal.SIGTERM, signal.SIGINT)
AT_ONCE_EXIT_CODE = 130


@contextmanager
def stop_signals(
    stop: threading.Event, exit_now: Callable[[int], None] = os._exit
) -> Generator[None]:
    """Set `stop` at the first signal and call `exit_now` at the second. For the main thread.

    Python runs its own signal handlers in the main thread, and only once that thread is back from
    whatever C code it is in: a frozen model would make the second signal useless as well. So the
    interpreter writes the signals to a socket, and a thread reads them.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    thread = threading.Thread(
        target=_follow, args=(reader, stop, exit_now), name="signals", daemon=True
    )
    thread.start()
    before_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    before = [signal.signal(number, _nothing) for number in SIGNALS]
    try:
        yield
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


def _follow(reader: socket.socket, stop: threading.Event, exit_now: Callable[[int], None]) -> None:
    while numbers := reader.recv(64):
        for number in numbers:
            if number not in SIGNALS:
                continue
            if stop.is_set():
                exit_now(AT_ONCE_EXIT_CODE)
            stop.set()
