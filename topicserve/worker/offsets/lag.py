"""How far the partitions assigned are behind, in records and in seconds."""

import threading
from collections.abc import Callable, Iterable, Mapping

from topicserve.backends.broker import ConsumerStats
from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.offsets.tracker import OffsetTracker
from topicserve.worker.telemetry.metrics import WorkerMetrics


class LagGauges:
    """Sets the lag of each partition that is assigned, and removes it with the partition.

    A client knows a partition's end from what it fetches, so while it is paused it knows an old
    one: `know_ends` brings what the broker was asked for instead.

    The polling thread observes, the client's rebalance thread forgets, and the broker watch brings
    ends: one lock guards all of it, and nothing waits with it held.
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
        self._ends: dict[TopicPartition, int] = {}
        self._behind_since: dict[TopicPartition, float] = {}

    def know_ends(self, ends: Mapping[TopicPartition, int]) -> None:
        """Note where partitions end by now."""
        with self._lock:
            self._ends.update(ends)

    def observe(self, stats: ConsumerStats) -> None:
        """Set the gauges of what is assigned, and remove the others."""
        positions = self._tracker.reading.positions()
        unfinished = self._tracker.reading.unfinished_offsets()
        oldest = self._tracker.reading.oldest_timestamps_ms()
        assigned = self._tracker.partitions()
        with self._lock:
            for partition in assigned:
                records = self._lag_records(partition, stats, positions)
                if records is not None:
                    # Not only what is not polled yet: what is held back may be held for long.
                    records += unfinished.get(partition, 0)
                    seconds = self._lag_seconds(partition, records, oldest.get(partition))
                    self._show(partition, records, seconds)
            self._remove(self._shown.difference(assigned))

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """Remove what is shown and known of these partitions."""
        with self._lock:
            for partition in partitions:
                self._ends.pop(partition, None)
            self._remove(self._shown.intersection(partitions))

    def _lag_records(
        self,
        partition: TopicPartition,
        stats: ConsumerStats,
        positions: Mapping[TopicPartition, int],
    ) -> int | None:
        known = stats.lag_records.get(partition)
        end, position = self._ends.get(partition), positions.get(partition)
        if end is None or position is None:
            return known
        # An end never moves back, so of two the farther one is the newer one.
        return max(end - position, known or 0)

    def _lag_seconds(self, partition: TopicPartition, records: int, oldest_ms: int | None) -> float:
        """Return the age of the oldest record that is not finished; 0 where none is behind.

        While none is polled the oldest one's timestamp is not known. It is then at least as old as
        the time since this partition was first seen behind, or as the last one that was polled.
        """
        now = self._wall_clock()
        if oldest_ms is not None and oldest_ms >= 0:
            self._behind_since[partition] = oldest_ms / 1000
        elif not records:
            self._behind_since.pop(partition, None)
            return 0.0
        return max(now - self._behind_since.setdefault(partition, now), 0.0)

    def _show(self, partition: TopicPartition, records: int, seconds: float) -> None:
        labels = partition.topic, str(partition.partition)
        self._records.labels(*labels).set(records)
        self._seconds.labels(*labels).set(seconds)
        self._shown.add(partition)

    def _remove(self, partitions: Iterable[TopicPartition]) -> None:
        for partition in partitions:
            labels = partition.topic, str(partition.partition)
            self._records.remove(*labels)
            self._seconds.remove(*labels)
            self._shown.discard(partition)
            self._behind_since.pop(partition, None)
