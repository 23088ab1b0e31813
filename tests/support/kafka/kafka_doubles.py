"""A consumer and a producer on one log in memory: tests decide what goes wrong, and when."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

from topicserve.backends.broker import (
    ConsumerStats,
    Offsets,
    OnDelivery,
    Places,
    RebalanceListener,
)
from topicserve.backends.errors import BackendError
from topicserve.wire.kafka_record import KafkaRecord, OutgoingRecord, Place, TopicPartition


class MemoryLog:
    """What was published for readers of committed records, and the group's offsets."""

    def __init__(self, records: Sequence[KafkaRecord] = ()) -> None:
        self.records = list(records)
        self.published: list[OutgoingRecord] = []
        self.committed: dict[TopicPartition, int] = {}
        self.lock = threading.RLock()

    def ids(self) -> list[str]:
        """Return the record ids of what was published, in order."""
        with self.lock:
            return [(dict(sent.headers)["ce_id"] or b"").decode() for sent in self.published]


class MemoryConsumer:
    """Polls from a log, one partition group, and obeys pauses and seeks."""

    def __init__(self, log: MemoryLog) -> None:
        self.log = log
        self.listener: RebalanceListener | None = None
        self.positions: dict[TopicPartition, int] = {}
        self.paused: set[TopicPartition] = set()
        self.problem = ""
        self.closed = False
        self.commit_error: BackendError | None = None
        self.committed_error: Callable[[], BackendError | None] = lambda: None
        self.lag_records: dict[TopicPartition, int] = {}
        self.before_poll: Callable[[], None] = lambda: None

    def subscribe(self, topics: Sequence[str], listener: RebalanceListener) -> None:
        self.topics = list(topics)
        self.listener = listener

    def assign(self, *partitions: TopicPartition) -> None:
        """Give this member partitions, from what is committed on."""
        assert self.listener is not None
        for partition in partitions:
            self.positions[partition] = self.log.committed.get(partition, 0)
        self.listener.on_assigned(partitions)

    def revoke(self, *partitions: TopicPartition) -> None:
        """Take partitions, after the listener has finished with them."""
        assert self.listener is not None
        self.log.committed.update(self.listener.on_revoked(partitions))
        self._forget(partitions)

    def lose(self, *partitions: TopicPartition) -> None:
        """Take partitions without asking."""
        assert self.listener is not None
        self.listener.on_lost(partitions)
        self._forget(partitions)

    def _forget(self, partitions: Sequence[TopicPartition]) -> None:
        for partition in partitions:
            del self.positions[partition]
        self.paused.difference_update(partitions)  # they come back unpaused

    def poll(self, timeout_seconds: float, max_records: int) -> list[KafkaRecord]:  # noqa: ARG002
        self.before_poll()
        polled: list[KafkaRecord] = []
        for partition, position in self.positions.items():
            if partition in self.paused:
                continue
            found = [
                record
                for record in self.log.records
                if (record.topic, record.partition) == partition and record.offset >= position
            ][: max_records - len(polled)]
            if found:
                self.positions[partition] = found[-1].offset + 1
            polled += found
        return polled

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        self.paused |= set(partitions)

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        self.paused -= set(partitions)

    def seek(self, offsets: Offsets) -> None:
        self.positions.update({p: o for p, o in offsets.items() if p in self.positions})

    def commit(self, offsets: Offsets, timeout_seconds: float) -> None:  # noqa: ARG002
        if self.commit_error is not None:
            raise self.commit_error
        self.log.committed.update(offsets)

    def committed(
        self,
        partitions: Sequence[TopicPartition],
        timeout_seconds: float,  # noqa: ARG002
    ) -> dict[TopicPartition, int | None]:
        error = self.committed_error()
        if error is not None:
            raise error
        return {partition: self.log.committed.get(partition) for partition in partitions}

    def group_metadata(self) -> Any:
        return "group"

    def stats(self) -> ConsumerStats:
        return ConsumerStats(
            frozenset(self.positions),
            frozenset(self.paused),
            self.lag_records,
            dict(self.positions),
            self.problem,
        )

    def close(self, timeout_seconds: float) -> None:  # noqa: ARG002
        self.closed = True


class MemoryProducer:
    """Sends into a log at once, or fails as a test decides; transactions are all or nothing."""

    def __init__(self, log: MemoryLog) -> None:
        self.log = log
        self.transactional = False
        self.pending: list[OutgoingRecord] = []
        self.offsets: dict[TopicPartition, int] = {}
        self.fail_send: Callable[[OutgoingRecord], BackendError | None] = lambda _: None
        self.fail_commit: Callable[[], BackendError | None] = lambda: None
        self.fail_abort: Callable[[], BackendError | None] = lambda: None
        self.refuse_send: Callable[[], BackendError | None] = lambda: None
        self.on_begin: Callable[[], object] = lambda: None
        self.patience_seconds: list[float | None] = []
        self.aborted = 0
        self.commits = 0
        self.closed = False

    def send(
        self,
        records: Sequence[OutgoingRecord],
        on_delivery: OnDelivery,
        timeout_seconds: float | None = None,
        places: Places | None = None,
    ) -> None:
        self.patience_seconds.append(timeout_seconds)
        refusal = self.refuse_send()
        if refusal is not None:
            raise refusal
        errors = [self.fail_send(record) for record in records]
        with self.log.lock:
            target = self.pending if self.transactional else self.log.published
            for index, (record, error) in enumerate(zip(records, errors, strict=True)):
                if error is None:
                    if places is not None:
                        places[index] = Place(record.topic, 0, len(target))
                    target.append(record)
        on_delivery(errors)

    def flush(self, timeout_seconds: float) -> bool:  # noqa: ARG002
        return True

    def init_transactions(self, timeout_seconds: float) -> None:  # noqa: ARG002
        self.transactional = True

    def begin_transaction(self) -> None:
        self.on_begin()
        assert not self.pending, "the transaction before was not ended"

    def send_offsets_to_transaction(
        self,
        offsets: Offsets,
        group_metadata: Any,
        timeout_seconds: float,  # noqa: ARG002
    ) -> None:
        assert group_metadata == "group"
        self.offsets.update(offsets)

    def commit_transaction(self, timeout_seconds: float) -> None:  # noqa: ARG002
        error = self.fail_commit()
        if error is not None:
            raise error
        with self.log.lock:
            self.log.published += self.pending
            self.log.committed.update(self.offsets)
            self.pending, self.offsets = [], {}
            self.commits += 1

    def abort_transaction(self, timeout_seconds: float) -> None:  # noqa: ARG002
        error = self.fail_abort()
        if error is not None:
            raise error
        self.pending, self.offsets = [], {}
        self.aborted += 1

    def close(self, timeout_seconds: float) -> None:  # noqa: ARG002
        self.closed = True
