"""Log events that follow from what others do: versions that come and go, and dead letters."""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from topicserve.servables.core.errors import ServableError, UnknownError
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_state import ManagerState, ServableState
from topicserve.wire.dead_letter import Reason
from topicserve.wire.headers import ID
from topicserve.worker.stages.publish import OutgoingBatch
from topicserve.worker.telemetry.logging import log_event

COUNT_SECONDS = 60.0
NEWEST = 5
_MESSAGE = "kafka_dlt-exception-message"


def log_version(state: ServableState, replaced: Sequence[int] = ()) -> None:
    """Log that a version is available, unloaded or failed.

    `replaced` are the servable's versions that are no longer aspired and still serve.
    """
    name, version = state.id.name, state.id.version
    if state.error is not None:
        log_event(
            "version_failed",
            logging.ERROR,
            servable=name,
            version=version,
            code=state.error.code,
            problem=str(state.error),
            traceback_of=_unforeseen(state.error),
        )
        _log_blocked_rollback(state.id, str(state.error), max(replaced, default=version))
    elif state.manager_state is ManagerState.AVAILABLE:
        log_event("version_available", servable=name, version=version, seconds=_short(state))
    elif state.manager_state is ManagerState.END:
        log_event("version_unloaded", servable=name, version=version, seconds=_short(state))


def _log_blocked_rollback(failed: ServableId, problem: str, replaced: int) -> None:
    """Log that a higher version still answers, where a lower one was to replace it."""
    if replaced > failed.version:
        log_event(
            "rollback_blocked",
            logging.WARNING,
            servable=failed.name,
            version=replaced,
            failed_version=failed.version,
            problem=problem,
            remedy="remove the failed version, too, or correct it",
        )


def log_removed(names: Sequence[str]) -> None:
    """Log which servables the model config file does not list any more."""
    log_event("servables_removed", logging.WARNING, servables=",".join(names))


def _unforeseen(error: ServableError) -> BaseException | None:
    """Return what a loader raised that has no status code: its text alone rarely says where."""
    return error.__cause__ if isinstance(error, UnknownError) else None


def _short(state: ServableState) -> float:
    return round(state.seconds or 0.0, 3)


@dataclass(frozen=True, slots=True)
class NotedDeadLetter:
    """A dead letter that was acknowledged, and where its record came from."""

    at: float
    """Unix time, seconds."""
    reason: Reason
    record_id: str
    topic: str
    partition: int
    offset: int
    problem: str


class DeadLetterLog:
    """Logs the first dead letter of each reason, and then their number once a minute.

    Any thread may call it.
    """

    def __init__(
        self, clock: Callable[[], float], wall_clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._wall_clock = wall_clock
        self._newest: deque[NotedDeadLetter] = deque(maxlen=NEWEST)
        self._lock = threading.Lock()
        self._known: set[Reason] = set()
        self._counts: Counter[Reason] = Counter()
        self._count_at = clock() + COUNT_SECONDS

    def note(self, outgoing: OutgoingBatch) -> None:
        """Note what was acknowledged; most of it are results."""
        if outgoing.reasons.count(None) == len(outgoing.reasons):
            return
        found = [(index, reason) for index, reason in enumerate(outgoing.reasons) if reason]
        with self._lock:
            for index, reason in found[-NEWEST:]:
                self._newest.append(self._noted(outgoing, index, reason))
            for index, reason in found:
                if reason in self._known:
                    self._counts[reason] += 1
                else:
                    self._known.add(reason)
                    self._log_first(self._noted(outgoing, index, reason))

    def newest(self) -> list[NotedDeadLetter]:
        """Return the last few, the newest first."""
        with self._lock:
            return list(reversed(self._newest))

    def tick(self) -> None:
        """Log the counts, where a minute is over."""
        if self._clock() < self._count_at:
            return
        with self._lock:
            counts, self._counts = self._counts, Counter()
            self._count_at = self._clock() + COUNT_SECONDS
        for reason, count in counts.items():
            log_event("dead_letters", logging.WARNING, reason=reason.value, records=count)

    def _noted(self, outgoing: OutgoingBatch, index: int, reason: Reason) -> NotedDeadLetter:
        record = outgoing.polled[index].record
        headers = dict(outgoing.records[index].headers)
        record_id, problem = (headers.get(name) or b"" for name in (ID, _MESSAGE))
        return NotedDeadLetter(
            self._wall_clock(),
            reason,
            record_id.decode(errors="replace"),
            record.topic,
            record.partition,
            record.offset,
            problem.decode(errors="replace"),
        )

    def _log_first(self, noted: NotedDeadLetter) -> None:
        log_event(
            "first_dead_letter",
            logging.WARNING,
            reason=noted.reason.value,
            topic=noted.topic,
            partition=noted.partition,
            offset=noted.offset,
            problem=noted.problem,
        )
