"""How far the partitions assigned are behind, in records and in seconds."""

import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import NamedTuple

from topicserve.backends.broker import ConsumerStats
from topicserve.wire.kafka_record import EARLIEST_TIMESTAMP_MS, TopicPartition
from topicserve.worker.offsets.tracker import OffsetTracker
from topicserve.worker.telemetry.metrics import WorkerMetrics


class Look(NamedTuple):
    """What a partition was like when it was last looked at. Times are Unix times."""

    unread: int
    """How many records had not been polled."""
    end: int | None
    """Where the partition ended, as far as that is known."""
    caught_up_at: float | None
    """When there was none of these; None where there always was one."""
    unread_since: float
    """About when the first of them was published."""
    oldest_offset: int
    """The first offset that was not finished; 0 where none is known."""
    oldest_since: float
    """When it was first seen to be that."""


class LagGauges:
    """Sets the lag of each partition that is assigned, and removes it with the partition.

    A client knows a partition's end from what it fetches, so while it is paused, or has records
    left, it knows an old one: `know_ends` brings what the broker was asked for instead.

    Both are reckoned when they are asked for. The polling thread observes, and while it is held
    the oldest record grows older all the same, and what is in flight may be finished.

    The polling thread observes, the client's rebalance thread forgets, and the broker watch brings
    ends: one lock guards all of it, and nothing waits with it held. A scrape takes no lock.
    """

    def __init__(
        self, tracker: OffsetTracker, metrics: WorkerMetrics, wall_clock: Callable[[], float]
    ) -> None:
        self._tracker = tracker
        self._records = metrics.consumer_lag_records
        self._seconds = metrics.consumer_lag_seconds
        self._wall_clock = wall_clock
        # The polling thread and the client's rebalance thread; and, for the ends, any thread.
        self._lock = threading.Lock()
        self._shown: set[TopicPartition] = set()
        self._told: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}
        # Entries are replaced, never changed, so that a scrape reads them without the lock.
        self._looks: dict[TopicPartition, Look] = {}

    def know_ends(self, ends: Mapping[TopicPartition, int]) -> None:
        """Note where partitions end by now, and show it."""
        with self._lock:
            self._ends.update(ends)
        self._show_all()

    def observe(self, stats: ConsumerStats) -> None:
        """Set the gauges of what is assigned, and remove the others."""
        with self._lock:
            self._told = dict(stats.lag_records)
        self._show_all()

    def is_behind(self) -> bool:
        """Return whether any partition had records that were not polled. Any thread may call it.

        A client knows an end from its last fetch, and fetches no more while it has records left.
        """
        return any(look.unread for look in list(self._looks.values()))

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """Remove what is shown and known of these partitions."""
        with self._lock:
            for partition in partitions:
                self._ends.pop(partition, None)
                self._told.pop(partition, None)
            self._remove(self._shown.intersection(partitions))

    def _show_all(self) -> None:
        positions = self._tracker.reading.positions()
        last_ms = self._tracker.reading.last_timestamps_ms()
        assigned = self._tracker.partitions()
        with self._lock:
            for partition in assigned:
                position = positions.get(partition)
                unread = self._unread(partition, position)
                if unread is not None:
                    end = None if position is None else position + unread
                    self._note(partition, unread, end, last_ms.get(partition, -1))
                    self._show(partition)
            self._remove(self._shown.difference(assigned))

    def _unread(self, partition: TopicPartition, position: int | None) -> int | None:
        told = self._told.get(partition)
        end = self._ends.get(partition)
        if end is None or position is None:
            return told
        # An end never moves back, so of two the farther one is the newer one.
        return max(end - position, told or 0)

    def _note(self, partition: TopicPartition, unread: int, end: int | None, last_ms: int) -> None:
        """Note since when records wait whose timestamps are not known.

        Those that are not polled came after the last one that was, and after the last look
        that found none of them.
        """
        now, oldest = self._wall_clock(), self._tracker.reading.unfinished(partition).start
        before = self._looks.get(partition) or Look(0, None, None, now, oldest, now)
        caught_up_at = before.caught_up_at if unread else now
        known = [] if caught_up_at is None else [caught_up_at]
        if last_ms >= EARLIEST_TIMESTAMP_MS:
            known.append(last_ms / 1000)
        self._looks[partition] = Look(
            unread,
            end,
            caught_up_at,
            max(known) if known else before.unread_since,
            oldest,
            before.oldest_since if oldest == before.oldest_offset else now,
        )

    def _count_records(self, partition: TopicPartition) -> int:
        """Return how many records are not finished.

        Not only those that are not polled yet: what is held back may be held for long.
        """
        look = self._looks.get(partition)
        unfinished = self._tracker.reading.unfinished(partition)
        if look is None:
            return 0
        if look.end is None:
            return look.unread + len(unfinished)
        return max(look.end, unfinished.stop) - unfinished.start

    def _age_seconds(self, partition: TopicPartition) -> float:
        """Return the age of the oldest record that is not finished; 0 where none is behind."""
        look = self._looks.get(partition)
        oldest_ms = self._tracker.reading.oldest_timestamp_ms(partition)
        if oldest_ms is not None and oldest_ms >= EARLIEST_TIMESTAMP_MS:
            since = oldest_ms / 1000
        elif look is None or (oldest_ms is None and not look.unread):
            return 0.0
        else:
            since = look.unread_since if oldest_ms is None else look.oldest_since
        return max(self._wall_clock() - since, 0.0)

    def _show(self, partition: TopicPartition) -> None:
        if partition not in self._shown:
            labels = partition.topic, str(partition.partition)
            self._records.labels(*labels).set_function(partial(self._count_records, partition))
            self._seconds.labels(*labels).set_function(partial(self._age_seconds, partition))
            self._shown.add(partition)

    def _remove(self, partitions: Iterable[TopicPartition]) -> None:
        for partition in partitions:
            labels = partition.topic, str(partition.partition)
            self._records.remove(*labels)
            self._seconds.remove(*labels)
            self._shown.discard(partition)
            self._looks.pop(partition, None)
