"""Replicas that run and answer nothing: they are ended, so that they are started again.

A replica that is frozen ends itself (`runtime.stop_watchdog`), unless it is stopped by a signal or
a debugger, or waits for a disk that does not answer.
"""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Thread

from topicserve.worker.supervisor.pages import Replicas, SilentSeconds
from topicserve.worker.telemetry.logging import log_event

ASK_SECONDS = 5.0

Kill = Callable[[int, str], bool]
"""Ends the replica of a slot, if it still has that address; returns whether it did."""


class SilenceWatch:
    """Asks all replicas again and again, on a thread of its own."""

    def __init__(
        self,
        replicas: Replicas,
        kill: Kill,
        limit_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._replicas = replicas
        self._kill = kill
        self._limit_seconds = limit_seconds
        self._silent = SilentSeconds(clock)
        self._closed = Event()
        self._thread = Thread(target=self._run, name="topicserve-silence-watch", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def close(self) -> None:
        """Ask no more."""
        self._closed.set()

    def step(self) -> None:
        """Ask each replica once; end those that have been silent for too long."""
        addresses = list(self._replicas.addresses())
        answered = [bool(answer.status) for answer in self._replicas.ask_all("/livez")]
        for number, silent in enumerate(self._silent.after(addresses, answered)):
            if silent > self._limit_seconds and self._kill(number, addresses[number]):
                log_event("replica_silent", logging.ERROR, replica=number, seconds=round(silent))

    def _run(self) -> None:
        while not self._closed.wait(ASK_SECONDS):
            with suppress(RuntimeError):  # out of threads: the next round asks again
                self.step()
