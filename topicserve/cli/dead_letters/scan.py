"""Reads a dead-letter topic up to the end that it had when the reading began.

`status` and `replay --compare` read their topics with it, too.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from topicserve.backends.broker import Consumer, Offsets
from topicserve.backends.errors import BackendError, BackendUnavailableError
from topicserve.wire.kafka_record import KafkaRecord, TopicPartition

POLL_SECONDS = 0.25
MAX_POLL_RECORDS = 500


class Scan:
    """Yields lists of polled records until every assigned partition is read to its end.

    `starts` are offsets to read from; other partitions are read from where the group's committed
    offset is, or from the beginning. `ends` are exclusive: what is written later is left out. A
    member that shares its group reads the partitions that it is assigned. One thread uses it.

    It is also the consumer's rebalance listener: partitions that come are sought and read from
    their start, those that go are their next owner's. Nothing is committed here.
    """

    def __init__(
        self,
        consumer: Consumer,
        topic: str,
        ends: Offsets,
        *,
        timeout_seconds: float,
        starts: Callable[[Sequence[TopicPartition]], Offsets] = lambda _: {},
        max_poll_records: int = MAX_POLL_RECORDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask `starts` once for each partition that is assigned, before it is read."""
        self._consumer = consumer
        self._topic = topic
        self._ends = ends
        self._timeout_seconds = timeout_seconds
        self._starts = starts
        self._max_poll_records = max_poll_records
        self._clock = clock
        self._new: set[TopicPartition] = set()
        self._next: dict[TopicPartition, int] = {}
        self._seeks: dict[TopicPartition, int] = {}
        self._seek_problem = ""
        self._unseen: dict[TopicPartition, int] = {}
        """Where partitions were begun of which nothing has come yet."""

    def read(self) -> Iterator[list[KafkaRecord]]:
        """Yield what each poll brings; everything before is done with when the next one begins.

        Raises BackendUnavailableError where no record comes for the time given before the end.
        """
        if not any(self._ends.values()):
            return
        self._consumer.subscribe([self._topic], self)
        silent_since = self._clock()
        while True:
            records = self._consumer.poll(POLL_SECONDS, self._max_poll_records)
            if self._new or self._seeks:
                records = self._begin(records)
            wanted = [r for r in records if r.offset < self._ends.get(_partition(r), 0)]
            for record in records:
                self._next[_partition(record)] = record.offset + 1
                self._unseen.pop(_partition(record), None)
            if wanted:
                yield wanted
                silent_since = self._clock()
            if self._is_over():
                return
            if self._clock() - silent_since >= self._timeout_seconds:
                raise BackendUnavailableError(self._silence())

    def on_assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """Note what is to be read; the seeks follow on the thread that reads."""
        self._new.update(partitions)

    def on_revoked(self, partitions: Sequence[TopicPartition]) -> Offsets:
        """Commit nothing: between two polls everything is settled."""
        self.on_lost(partitions)
        return {}

    def on_lost(self, partitions: Sequence[TopicPartition]) -> None:
        """Forget them: their next owner reads them."""
        self._new.difference_update(partitions)
        for partition in partitions:
            self._next.pop(partition, None)
            self._seeks.pop(partition, None)

    def _begin(self, records: list[KafkaRecord]) -> list[KafkaRecord]:
        """Seek where new partitions start, and leave out what was polled of them before."""
        new, self._new = sorted(self._new), set()
        starts = self._starts(new)
        self._seeks.update(starts)
        self._next.update(starts)
        self._unseen.update(starts)
        kept = [record for record in records if _partition(record) not in self._seeks]
        for partition, offset in list(self._seeks.items()):
            try:
                self._consumer.seek({partition: offset})
            except BackendError as error:
                # librdkafka refuses until it fetches the partition: the next round tries again.
                self._seek_problem = str(error)
            else:
                del self._seeks[partition]
        return kept

    def _is_over(self) -> bool:
        stats = self._consumer.stats()
        if not stats.assigned or not all(
            self._is_read(partition, stats.positions) for partition in stats.assigned
        ):
            return False
        # Where nothing came, the end may be that of before the seek: so it is sought once more.
        again = {p: start for p, start in self._unseen.items() if start < self._ends.get(p, 0)}
        self._unseen.clear()
        self._seeks.update(again)
        return not again

    def _is_read(self, partition: TopicPartition, positions: Mapping[TopicPartition, int]) -> bool:
        end = self._ends.get(partition, 0)
        if partition in self._seeks and end:
            return False
        return max(self._next.get(partition, 0), positions.get(partition, 0)) >= end

    def _silence(self) -> str:
        stats = self._consumer.stats()
        behind = sorted(
            partition.partition
            for partition in stats.assigned
            if not self._is_read(partition, stats.positions)
        )
        problem = stats.problem or (self._seek_problem if self._seeks else "")
        where = f"partitions {behind}" if stats.assigned else "no partition was assigned"
        return (
            f"no record came from {self._topic} for {self._timeout_seconds:g} s before its end "
            f"({where}{': ' + problem if problem else ''}); "
            "a transaction may be open, or a broker away: try again later"
        )


def _partition(record: KafkaRecord) -> TopicPartition:
    return TopicPartition(record.topic, record.partition)
