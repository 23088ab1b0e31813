"""Log events of dead letters, and the last few of them."""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from heapq import nlargest

from topicserve.tracing import trace_of
from topicserve.wire.dead_letter import Reason
from topicserve.wire.header_names import ID
from topicserve.worker.stages.publish import OutgoingBatch
from topicserve.worker.telemetry.logging import log_event

COUNT_SECONDS = 60.0
NEWEST = 5
_MESSAGE = "kafka_dlt-exception-message"


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

    The delivery thread notes, the polling thread ticks, HTTP threads ask for the newest. One lock
    guards all of it, and nothing blocks.
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
            for index, reason in self._latest(outgoing, found):
                self._newest.append(self._noted(outgoing, index, reason))
            for index, reason in found:
                if reason in self._known:
                    self._counts[reason] += 1
                else:
                    self._known.add(reason)
                    self._log_first(outgoing, index, reason)

    def newest(self) -> list[NotedDeadLetter]:
        """Return the last few, the newest first: of one batch, the record published last."""
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

    @staticmethod
    def _latest(
        outgoing: OutgoingBatch, found: Sequence[tuple[int, Reason]]
    ) -> Iterable[tuple[int, Reason]]:
        """Return the dead letters whose records were published last, the newest one last."""

        def published(one: tuple[int, Reason]) -> tuple[int, int]:
            record = outgoing.polled[one[0]].record
            return record.timestamp_ms, record.offset

        # A batch has its records by partition, and those that were not predicted behind the others.
        return reversed(nlargest(NEWEST, found, key=published))

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

    def _log_first(self, outgoing: OutgoingBatch, index: int, reason: Reason) -> None:
        noted = self._noted(outgoing, index, reason)
        log_event(
            "first_dead_letter",
            logging.WARNING,
            reason=noted.reason.value,
            topic=noted.topic,
            partition=noted.partition,
            offset=noted.offset,
            problem=noted.problem,
            **trace_of(outgoing.polled[index].record.headers),
        )
