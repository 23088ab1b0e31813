"""Asks a broker, now and then, what the consumer is not told: log offsets, whether one answers.

It has a connection and a thread of its own, so the polling thread waits for no answer. While a
worker keeps up it asks nothing: records and commits show that a broker answers.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Protocol

from topicserve.backends.broker import LogOffsets, OffsetsAdmin
from topicserve.backends.errors import BackendError, BackendUnavailableError, UnknownTopicError
from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.offsets.assignment import MAX_GAPS, Gap
from topicserve.worker.offsets.tracker import OffsetTracker
from topicserve.worker.runtime.environment import Environment
from topicserve.worker.runtime.topic_limit import TopicLimit
from topicserve.worker.telemetry.logging import log_event

STEP_SECONDS = 1.0
# How often ends are asked for while a worker is behind.
ENDS_SECONDS = 2.0
# How often gaps are asked for, and how soon a silent broker is.
ASK_SECONDS = 5.0
ANSWER_SECONDS = 5.0
_MAX_FAILURES = 3
# A question that is open for so long counts as not answered so far.
_PROMPT_SECONDS = 1.0


class KnowsEnds(Protocol):
    """What the watch asks of flow control, and tells it.

    Called on the watch's thread while the polling thread works: implementations lock what they
    share.
    """

    def knows_old_ends(self) -> bool:
        """Return whether partitions may end later than the client knows."""

    def know_ends(self, ends: Mapping[TopicPartition, int]) -> None:
        """Note where partitions end by now."""


class BrokerWatch:
    """Keeps what the broker was last asked.

    `step` belongs to the watch's own thread, which may wait for a broker for 5 seconds a question.
    Any thread may call `problem`, which waits for nothing.
    """

    def __init__(
        self,
        environment: Environment,
        open_admin: Callable[[], OffsetsAdmin],
        tracker: OffsetTracker,
        flow: KnowsEnds,
        limits: Sequence[TopicLimit] = (),
    ) -> None:
        config = environment.config
        self._open_admin = open_admin
        self._group_id = config.kafka.group_id
        self._topics = config.topics.input
        self._tracker = tracker
        self._flow = flow
        self._metrics = environment.metrics
        self._unreachable_timeout_seconds = config.kafka.unreachable_timeout_seconds
        self._clock = environment.clock
        self._wall_clock = environment.wall_clock
        self._limits = limits
        self._admin: OffsetsAdmin | None = None
        self._failures = 0
        self._last_error = ""
        self._missing_topics: list[str] = []
        self._gaps: list[Gap] = []
        self._heard_at = self._asked_at = self._clock()
        self._is_asking = False
        self._activity = (0, 0)
        self._away = False
        self._stopping = False
        self._wake = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name="topicserve-broker-watch", daemon=True
        )
        self._metrics.broker_reachable.set(1)

    def start(self) -> None:
        """Begin to watch."""
        # Where the group stands is to be asked before the first offset is committed.
        self._tracker.on_assign = self._wake.set
        self._thread.start()

    def close(self, timeout_seconds: float) -> None:
        """End the thread; an answer that is still waited for is left to it."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)

    def problem(self) -> str | None:
        """Return since when no broker has answered, if that is too long, or which topic is missing.

        Any thread may call it.
        """
        silent = self._clock() - self._heard_at
        if silent >= self._unreachable_timeout_seconds:
            since = datetime.fromtimestamp(self._wall_clock() - silent, UTC)
            last = f"; last error: {self._last_error}" if self._last_error else ""
            return f"no broker has answered since {since:%Y-%m-%dT%H:%M:%SZ} ({silent:.0f} s){last}"
        if missing := self._missing_topics:
            names = ", ".join(map(repr, missing))
            return f"no such topic: {names}; waiting until it is created again"
        return None

    def unanswered_seconds(self) -> float:
        """Return for how long no broker has answered; 0 while all that is asked is answered.

        Any thread may call it.
        """
        waits = self._is_asking and self._clock() - self._asked_at > _PROMPT_SECONDS
        return self._clock() - self._heard_at if waits or self._failures else 0.0

    def step(self) -> None:
        """Ask what is due."""
        self._note_activity()
        new = self._tracker.reading.without_start()
        is_wanted = any(limit.is_due() for limit in self._limits)
        if new or is_wanted or self._is_due():
            self._asked_at, self._is_asking = self._clock(), True
            try:
                self._ask(new)
            finally:
                self._is_asking = False
        away = self._clock() - self._heard_at >= self._unreachable_timeout_seconds
        self._metrics.broker_reachable.set(not away)

    def _is_due(self) -> bool:
        """Return whether it is time to ask for ends, about gaps, or whether anyone answers."""
        since = self._clock() - self._asked_at
        if since >= ENDS_SECONDS and self._flow.knows_old_ends():
            return True
        if since < ASK_SECONDS:
            return False
        self._gaps = (self._gaps + self._tracker.reading.take_gaps())[:MAX_GAPS]
        is_silent = self._clock() - self._heard_at >= ASK_SECONDS
        return bool(self._gaps or is_silent or self._missing_topics)

    def _run(self) -> None:
        self._guarded(lambda: self._ask([]))  # connects, while there is nothing to wait for
        while not self._stopping:
            self._wake.wait(STEP_SECONDS)
            self._wake.clear()
            if not self._stopping:
                self._guarded(self.step)
        self._close_admin()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # what it watches is more important than the watch
            log_event("broker_watch_failed", logging.ERROR, traceback_of=error)

    def _note_activity(self) -> None:
        activity = (self._tracker.polls, self._tracker.commits.count)
        if activity != self._activity:
            self._activity = activity
            self._heard()

    def _ask(self, new: Sequence[TopicPartition]) -> None:
        try:
            self._look(new)
        except BackendUnavailableError as error:
            self._note_silence(error)
        except UnknownTopicError:
            self._gaps.clear()
            self._heard()
        except BackendError as error:
            # It answers: what is wrong, the consumer or the producer meets too.
            log_event("broker_refuses", logging.WARNING, problem=str(error))
            self._gaps.clear()
            self._heard()
        else:
            self._heard()

    def _look(self, new: Sequence[TopicPartition]) -> None:
        if self._admin is None:
            self._admin = self._open_admin()
        self._look_for_topics(self._admin)
        for limit in self._limits:
            if limit.is_due():
                limit.ask(self._admin, ANSWER_SECONDS)
        known = {*self._tracker.partitions(), *(gap.partition for gap in self._gaps)}
        wanted = {partition for partition in known if partition.topic not in self._missing_topics}
        if not wanted:
            return
        stood = self._admin.committed(self._group_id, new, ANSWER_SECONDS) if new else {}
        found = self._admin.log_offsets(sorted(wanted), ANSWER_SECONDS)
        self._flow.know_ends({partition: offsets.end for partition, offsets in found.items()})
        starts = {}
        for partition, offset in stood.items():
            if offset is not None:
                starts[partition] = int(offset)
            elif partition in found:
                starts[partition] = found[partition].start
        self._tracker.reading.start_at(starts)
        self._gaps += self._tracker.reading.take_gaps()
        for gap in self._gaps:
            if gap.partition in found:
                self._count_deleted(gap, found[gap.partition])
        self._gaps.clear()

    def _look_for_topics(self, admin: OffsetsAdmin) -> None:
        missing = [
            topic for topic in self._topics if admin.partitions(topic, ANSWER_SECONDS) is None
        ]
        for topic in set(missing).difference(self._missing_topics):
            log_event("topic_missing", logging.WARNING, topic=topic)
        for topic in set(self._missing_topics).difference(missing):
            log_event("topic_found", logging.WARNING, topic=topic)
        self._missing_topics = missing

    def _count_deleted(self, gap: Gap, offsets: LogOffsets) -> None:
        # Above the log's start a gap is compaction, or a transaction's marker or aborted records.
        stop = min(gap.stop, offsets.start)
        if stop <= gap.start:
            return
        topic, partition = gap.partition
        self._metrics.deleted_records.labels(topic).inc(stop - gap.start)
        log_event(
            "records_deleted_unread",
            logging.WARNING,
            topic=topic,
            partition=partition,
            from_offset=gap.start,
            to_offset=stop,
            records=stop - gap.start,
        )

    def _heard(self) -> None:
        if self._away:
            self._away = False
            seconds = round(self._clock() - self._heard_at, 1)
            log_event("broker_back", logging.WARNING, away_seconds=seconds)
        self._failures = 0
        self._last_error = ""
        self._heard_at = self._clock()

    def _note_silence(self, error: BackendUnavailableError) -> None:
        self._failures += 1
        self._last_error = str(error)
        if self._failures % _MAX_FAILURES == 0:
            self._close_admin()  # a client may know only addresses that are gone
        if not self._away and self._clock() - self._heard_at >= ASK_SECONDS:
            self._away = True
            log_event("broker_away", logging.WARNING, problem=str(error))

    def _close_admin(self) -> None:
        admin, self._admin = self._admin, None
        if admin is not None:
            with suppress(BackendError):
                admin.close()
