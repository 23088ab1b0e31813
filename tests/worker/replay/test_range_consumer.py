from collections.abc import Callable, Sequence

import pytest
from msgspec.structs import replace

from tests.support.kafka.kafka_doubles import MemoryConsumer, MemoryLog
from tests.support.stages.logged import Logged
from tests.support.stages.records import PARTITION, a_kafka_record
from topicserve.backends.broker import ConsumerStats, Offsets
from topicserve.backends.errors import BackendError, CommitRefusedError
from topicserve.wire.kafka_record import KafkaRecord, TopicPartition, UnreadableHeaders
from topicserve.worker.replay.ledger import Ledger
from topicserve.worker.replay.progress_note import (
    SKIPPED,
    ForeignGroupError,
    OffsetRange,
    Ranges,
    split,
)
from topicserve.worker.replay.range_consumer import RangeConsumer

OTHER = TopicPartition("in", 1)


class Worker:
    """Hears of partitions, and returns what it is told to commit of those that go."""

    def __init__(self) -> None:
        self.offsets: Offsets = {}

    def on_assigned(self, partitions: Sequence[TopicPartition]) -> None:
        pass

    def on_revoked(self, partitions: Sequence[TopicPartition]) -> Offsets:  # noqa: ARG002
        return self.offsets

    def on_lost(self, partitions: Sequence[TopicPartition]) -> None:
        pass


class Replica:
    """One member on a log in memory."""

    def __init__(
        self,
        log: MemoryLog,
        ranges: Ranges,
        job: str = "job",
        is_wanted: Callable[[KafkaRecord], bool] = lambda _: True,
    ) -> None:
        self.client = MemoryConsumer(log)
        self.ledger = Ledger()
        self.consumer = RangeConsumer(self.client, self.ledger, job, ranges, is_wanted)
        self.worker = Worker()
        self.consumer.subscribe(["in"], self.worker)

    def poll(self) -> list[int]:
        """Return the offsets of a poll."""
        return [record.offset for record in self.consumer.poll(0, 1000)]

    def answer(self, *offsets: int) -> None:
        """Note results."""
        self.ledger.settle((PARTITION, offset, "result") for offset in offsets)


def a_log(count: int = 10) -> MemoryLog:
    """Return a log of one partition."""
    return MemoryLog([a_kafka_record(offset) for offset in range(count)])


def a_replica(log: MemoryLog, start: int = 2, end: int = 5, job: str = "job") -> Replica:
    """Return a member that has the partition."""
    replica = Replica(log, {PARTITION: OffsetRange(start, end)}, job)
    replica.client.assign(PARTITION)
    return replica


def test_the_records_of_the_range_are_read_and_no_others() -> None:
    """The end is not part of it; the partition rests there."""
    replica = a_replica(a_log())

    read = [*replica.poll(), *replica.poll(), *replica.poll()]

    assert read == [2, 3, 4]
    assert replica.client.paused == {PARTITION}
    assert replica.consumer.stats().positions == {PARTITION: 5}
    assert replica.consumer.stats().lag_records == {PARTITION: 0}


def test_a_partition_at_its_end_is_not_resumed() -> None:
    """Where the worker resumes all that it has paused."""
    replica = a_replica(a_log())
    replica.poll(), replica.poll()

    replica.consumer.resume([PARTITION])

    assert replica.client.paused == {PARTITION}


def test_an_aborted_transaction_reads_the_range_again() -> None:
    """Also where its end had been read."""
    replica = a_replica(a_log())
    replica.poll(), replica.poll()

    replica.consumer.seek({PARTITION: 3})

    assert replica.poll() == [3, 4]


def test_the_first_owner_commits_the_range() -> None:
    """So a member that was told another end reads up to the first one's."""
    log = a_log()
    first = a_replica(log, 2, 5)
    first.poll()
    first.client.revoke(PARTITION)
    second = a_replica(log, 2, 9)

    assert [*second.poll(), *second.poll()] == [2, 3, 4]


def test_an_owner_that_dies_leaves_its_account_behind() -> None:
    """The next one goes on where it committed, and counts no record twice."""
    log = a_log()
    first = a_replica(log)
    first.poll(), first.poll()
    first.answer(2, 3, 4)
    first.consumer.commit({PARTITION: 4}, 1)
    second = a_replica(log)

    read = [*second.poll(), *second.poll()]
    second.answer(*read)
    second.consumer.commit({PARTITION: 5}, 1)

    note, _ = split(log.committed[PARTITION])
    assert read == [4]
    assert (note.tally.read, note.tally.outcomes) == (3, {"result": 3})


def test_a_partition_that_is_given_up_has_its_account_with_it() -> None:
    """What the worker returns of it is committed with the note."""
    log = a_log()
    replica = a_replica(log)
    replica.poll(), replica.poll()
    replica.answer(2)
    replica.worker.offsets = {PARTITION: 3}

    replica.client.revoke(PARTITION)

    note, offset = split(log.committed[PARTITION])
    assert (offset, note.tally.read) == (3, 1)


def test_records_for_others_are_counted_and_not_returned() -> None:
    """They are read, and left out."""
    log = a_log()
    replica = Replica(
        log, {PARTITION: OffsetRange(0, 4)}, is_wanted=lambda record: record.offset % 2 == 0
    )
    replica.client.assign(PARTITION)

    read = [*replica.poll(), *replica.poll()]
    replica.answer(*read)
    replica.consumer.commit({PARTITION: 4}, 1)

    note, _ = split(log.committed[PARTITION])
    assert read == [0, 2]
    assert (note.tally.read, note.tally.outcomes) == (4, {"result": 2, SKIPPED: 2})


class Silent(MemoryConsumer):
    """Says no positions, as librdkafka's adapter before the end of a partition."""

    def stats(self) -> ConsumerStats:
        return super().stats()._replace(positions={})


def test_records_left_out_at_the_end_are_passed() -> None:
    """The range would never be committed to its end otherwise."""
    log, ranges = a_log(), {PARTITION: OffsetRange(2, 5)}
    client = Silent(log)
    consumer = RangeConsumer(client, Ledger(), "job", ranges, lambda record: record.offset < 4)
    consumer.subscribe(["in"], Worker())
    client.assign(PARTITION)

    read = [record.offset for _ in range(2) for record in consumer.poll(0, 1000)]

    assert read == [2, 3]
    assert consumer.stats().positions == {PARTITION: 5}


def test_a_partition_outside_of_the_range_is_not_read() -> None:
    """Nothing is committed of it either."""
    log = MemoryLog([replace(a_kafka_record(0), partition=1)])
    replica = Replica(log, {PARTITION: OffsetRange(0, 4)})
    replica.client.assign(OTHER)

    assert [*replica.poll(), *replica.poll()] == []
    assert log.committed == {}
    assert replica.client.paused == {OTHER}


def test_a_range_is_begun_again_after_a_refused_commit(logged: Logged) -> None:
    """A rebalance may come between; nothing is read before the range is committed."""
    log = a_log()
    replica = a_replica(log)
    replica.client.commit_error = CommitRefusedError("moved on")
    refused = replica.poll()
    replica.client.commit_error = None

    read = [*replica.poll(), *replica.poll()]

    assert refused == []
    assert read == [2, 3, 4]
    assert {line["problem"] for line in logged("replay_waits")} == {"moved on"}


class SlowToSeek(MemoryConsumer):
    """Refuses the first seek, as librdkafka does before it fetches a partition."""

    refusals = 1

    def seek(self, offsets: Offsets) -> None:
        if self.refusals:
            self.refusals -= 1
            raise BackendError("erroneous state")
        super().seek(offsets)


def test_a_refused_seek_is_tried_again() -> None:
    """Records that come before it took effect are not counted."""
    log = a_log()
    replica = Replica(log, {PARTITION: OffsetRange(2, 5)})
    client = SlowToSeek(log)
    consumer = RangeConsumer(client, replica.ledger, "job", {PARTITION: OffsetRange(2, 5)})
    consumer.subscribe(["in"], replica.worker)
    client.assign(PARTITION)

    read = [record.offset for _ in range(4) for record in consumer.poll(0, 1000)]

    assert read == [2, 3, 4]


def test_a_corrupt_batch_across_the_end_is_given_up() -> None:
    """One record stands for the whole batch, at its last offset."""
    headers = UnreadableHeaders("is corrupt", first_offset=3)
    log = MemoryLog([replace(a_kafka_record(7), headers=headers)])
    replica = a_replica(log)

    assert [*replica.poll(), *replica.poll()] == [7]
    assert replica.consumer.stats().positions == {PARTITION: 5}


def test_another_replays_group_is_refused() -> None:
    """Its offsets would be moved."""
    log = a_log()
    a_replica(log).poll()

    with pytest.raises(ForeignGroupError, match="something else"):
        a_replica(log, job="another").poll()
