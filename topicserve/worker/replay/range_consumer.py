"""A consumer that returns the records of a range, and commits the account beside the offsets."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from topicserve.backends.broker import Consumer, ConsumerStats, Offsets, RebalanceListener
from topicserve.backends.errors import BackendError, BackendUnavailableError, CommitRefusedError
from topicserve.wire.kafka_record import KafkaRecord, TopicPartition, UnreadableHeaders
from topicserve.worker.replay.ledger import Ledger
from topicserve.worker.replay.progress_note import (
    SKIPPED,
    ForeignGroupError,
    OffsetRange,
    ProgressNote,
    Ranges,
    Tally,
    split,
)
from topicserve.worker.telemetry.logging import log_event

_COMMIT_SECONDS = 5.0


class RangeConsumer:
    """A member of the replay's group. The broker port's Consumer: see there for who calls what.

    The first member that is assigned a partition commits its range; from then on that range counts,
    whatever later members were told. A partition is paused at the end of its range, and its
    position says no more than that, so the offset that is committed last is the range's end.
    """

    def __init__(
        self,
        consumer: Consumer,
        ledger: Ledger,
        job: str,
        ranges: Ranges,
        is_wanted: Callable[[KafkaRecord], bool] = lambda _: True,
    ) -> None:
        """`ranges` are those of partitions that no member has begun; others are not read."""
        self._consumer = consumer
        self._ledger = ledger
        self._job = job
        self._ranges = ranges
        self._is_wanted = is_wanted
        self._listener: RebalanceListener | None = None
        self._new: set[TopicPartition] = set()
        self._open: dict[TopicPartition, OffsetRange] = {}
        # Where the client is to go before its records count, until it takes the order.
        self._seeks: dict[TopicPartition, int] = {}
        self._ended: set[TopicPartition] = set()
        # Behind the last record that the client returned: it says less where records are left out.
        self._read_to: dict[TopicPartition, int] = {}

    def subscribe(self, topics: Sequence[str], listener: RebalanceListener) -> None:
        self._listener = listener
        self._consumer.subscribe(topics, self)

    def poll(self, timeout_seconds: float, max_records: int) -> list[KafkaRecord]:
        records = self._consumer.poll(timeout_seconds, max_records)
        if self._new:
            self._begin()
        if self._seeks:
            kept = [record for record in records if _partition(record) not in self._seeks]
            self._seek()
            records = kept
        within = [record for record in records if self._is_within(record)]
        self._ledger.read(within)
        self._end(records)
        wanted: list[KafkaRecord] = []
        skipped: list[KafkaRecord] = []
        for record in within:
            (wanted if self._is_wanted(record) else skipped).append(record)
        self._ledger.settle((_partition(one), one.offset, SKIPPED) for one in skipped)
        return wanted

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        self._consumer.pause(partitions)

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        self._consumer.resume([one for one in partitions if one not in self._ended])

    def seek(self, offsets: Offsets) -> None:
        self._consumer.seek(offsets)
        self._read_to.update({p: o for p, o in offsets.items() if p in self._read_to})
        back = [
            partition
            for partition, offset in offsets.items()
            if partition in self._ended and offset < self._open[partition].end
        ]
        self._ended.difference_update(back)
        if back:
            self._consumer.resume(back)

    def commit(self, offsets: Offsets, timeout_seconds: float) -> None:
        noted = self._ledger.noted(offsets)
        if noted:
            self._consumer.commit(noted, timeout_seconds)
            self._ledger.committed(noted)

    def committed(
        self, partitions: Sequence[TopicPartition], timeout_seconds: float
    ) -> dict[TopicPartition, int | None]:
        found = self._consumer.committed(partitions, timeout_seconds)
        return {p: None if offset is None else split(offset)[1] for p, offset in found.items()}

    def group_metadata(self) -> Any:
        return self._consumer.group_metadata()

    def stats(self) -> ConsumerStats:
        stats = self._consumer.stats()
        known = stats.positions
        positions = {
            partition: min(max(known.get(partition, 0), self._read_to.get(partition, 0)), own.end)
            for partition, own in self._open.items()
            if partition not in self._seeks and (partition in known or partition in self._read_to)
        }
        lag = {p: max(self._open[p].end - position, 0) for p, position in positions.items()}
        return stats._replace(lag_records=lag, positions=positions)

    def close(self, timeout_seconds: float) -> None:
        self._consumer.close(timeout_seconds)

    def on_assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """Note them; they are begun at the next poll, where the group can be asked."""
        self._new.update(partitions)
        self._heard.on_assigned(partitions)

    def on_revoked(self, partitions: Sequence[TopicPartition]) -> Offsets:
        """Return what the worker commits of them, with the account up to there."""
        offsets = self._ledger.noted(self._heard.on_revoked(partitions))
        self._forget(partitions)
        return offsets

    def on_lost(self, partitions: Sequence[TopicPartition]) -> None:
        """Forget them and their account: what was not committed is the next owner's to count."""
        self._heard.on_lost(partitions)
        self._forget(partitions)

    @property
    def _heard(self) -> RebalanceListener:
        assert self._listener is not None
        return self._listener

    def _forget(self, partitions: Sequence[TopicPartition]) -> None:
        self._new.difference_update(partitions)
        self._ended.difference_update(partitions)
        self._ledger.drop(partitions)
        for partition in partitions:
            for kept in (self._open, self._seeks, self._read_to):
                kept.pop(partition, None)

    def _begin(self) -> None:
        """Take new partitions over where their range stands; those that cannot be wait."""
        new = sorted(self._new)
        try:
            committed = self._consumer.committed(new, _COMMIT_SECONDS)
            first = {
                p: self._ranges[p] for p in new if committed.get(p) is None if p in self._ranges
            }
            for partition, own in first.items():
                self._ledger.open(partition, ProgressNote(self._job, own, Tally()), own.start)
            starts = {partition: own.start for partition, own in first.items()}
            if starts:
                self._consumer.commit(self._ledger.noted(starts), _COMMIT_SECONDS)
        except (BackendUnavailableError, CommitRefusedError) as error:
            log_event("replay_waits", logging.WARNING, problem=str(error))
            return
        self._seeks.update(starts)
        self._open.update(first)
        for partition in new:
            offset = committed.get(partition)
            if offset is not None:
                self._go_on(partition, offset)
        self._new.clear()
        others = [partition for partition in new if partition not in self._open]
        if others:
            self._consumer.pause(others)
            self._ended.update(others)

    def _go_on(self, partition: TopicPartition, committed: int) -> None:
        note, offset = split(committed)
        if note.job != self._job:
            raise ForeignGroupError(
                f"replays something else ({note.job}, this is {self._job}); name another group"
            )
        self._ledger.open(partition, note, int(offset))
        self._open[partition] = note.range
        self._seeks[partition] = int(offset)

    def _seek(self) -> None:
        """Have the client read on where a partition was begun."""
        for partition, offset in list(self._seeks.items()):
            try:
                self._consumer.seek({partition: offset})
            except BackendError:
                continue  # librdkafka refuses until it fetches the partition: at the next poll
            del self._seeks[partition]

    def _is_within(self, record: KafkaRecord) -> bool:
        own = self._open.get(_partition(record))
        return own is not None and record.offset >= own.start and _first(record) < own.end

    def _end(self, records: Sequence[KafkaRecord]) -> None:
        """Note how far partitions are read, and pause those whose range is."""
        last = {_partition(one): one.offset + 1 for one in records}
        self._read_to.update({p: offset for p, offset in last.items() if p in self._open})
        new = [
            partition
            for partition, offset in self._read_to.items()
            if partition not in self._ended and offset >= self._open[partition].end
        ]
        if new:
            self._consumer.pause(new)
            self._ended.update(new)


def _first(record: KafkaRecord) -> int:
    """Return the first offset that a record stands for: an unreadable batch is one record."""
    headers = record.headers
    if isinstance(headers, UnreadableHeaders) and headers.first_offset is not None:
        return headers.first_offset
    return record.offset


def _partition(record: KafkaRecord) -> TopicPartition:
    return TopicPartition(record.topic, record.partition)
