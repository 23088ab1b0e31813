"""Watches a replay's group until all of it is done, whichever replicas do it."""

import logging
import threading
from collections.abc import Callable

from topicserve.backends.broker import OffsetsAdmin
from topicserve.backends.errors import BackendError
from topicserve.worker.replay.progress import ReplayProgress, read_progress
from topicserve.worker.replay.progress_note import Ranges
from topicserve.worker.telemetry.logging import log_event

STEP_SECONDS = 0.5
ANSWER_SECONDS = 5.0


class ReplayWatch:
    """Asks the group how far it is, on a thread of its own, and sets `stop` at the end."""

    def __init__(
        self,
        admin: OffsetsAdmin,
        group_id: str,
        job: str,
        ranges: Ranges,
        stop: threading.Event,
        on_progress: Callable[[ReplayProgress], None],
        must_end: Callable[[], bool],
    ) -> None:
        """`must_end` says that going on is useless, such as with an open breaker."""
        self._admin = admin
        self._group_id = group_id
        self._job = job
        self._ranges = ranges
        self._stop = stop
        self._on_progress = on_progress
        self._must_end = must_end
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="topicserve-replay", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def close(self, timeout_seconds: float) -> None:
        """End the thread."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)

    def step(self) -> None:
        """Ask once. A broker that is away is asked again."""
        if self._must_end():
            self._stop.set()
            return
        try:
            found = read_progress(
                self._admin, self._group_id, self._job, self._ranges, ANSWER_SECONDS
            )
        except BackendError as error:
            log_event("replay_waits", logging.WARNING, problem=str(error))
            return
        self._on_progress(found)
        if found.is_complete:
            self._stop.set()

    def _run(self) -> None:
        while not self._closing.wait(STEP_SECONDS) and not self._stop.is_set():
            self.step()
