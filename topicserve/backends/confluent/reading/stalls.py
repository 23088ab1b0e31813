"""Finds partitions that librdkafka does not get on with, though more is there.

It tells no error where the records of a batch are cut off: it fetches the batch for ever. And
where a compressed batch is cut off, the thread that talks to the broker may spin for good.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from topicserve.wire.kafka_record import TopicPartition


class ReadPosition(NamedTuple):
    """How far a partition is read, and how far it goes."""

    position: int
    log_end: int


class StallWatch:
    """Remembers where partitions stood; for the thread that polls."""

    def __init__(self, stall_seconds: float, clock: Callable[[], float]) -> None:
        self._stall_seconds = stall_seconds
        self._clock = clock
        self._look_at = clock() + stall_seconds / 4
        # Where partitions stood that had more behind them, and since when.
        self._since: dict[TopicPartition, tuple[int, float]] = {}
        self._excused: dict[TopicPartition, int] = {}

    def is_due(self) -> bool:
        """Return whether it is time to look: a few times in the time that makes a stall."""
        now = self._clock()
        if now < self._look_at:
            return False
        self._look_at = now + self._stall_seconds / 4
        return True

    def stalled(
        self, places: Mapping[TopicPartition, ReadPosition]
    ) -> dict[TopicPartition, ReadPosition]:
        """Return the partitions that have not moved for so long, though more is there."""
        now = self._clock()
        found = {}
        before, self._since = self._since, {}
        for partition, place in places.items():
            if place.log_end <= place.position:
                continue
            position, since = before.get(partition, (-1, now))
            if place.position != position:
                since = now
            self._since[partition] = place.position, since
            is_excused = self._excused.get(partition) == place.position
            if now - since >= self._stall_seconds and not is_excused:
                found[partition] = place
        return found

    def excuse(self, partition: TopicPartition, position: int) -> None:
        """Take no notice of a partition for as long as it stands there: its batches are sound."""
        self._excused[partition] = position
