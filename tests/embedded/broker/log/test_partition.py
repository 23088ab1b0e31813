import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.record import MemoryRecords

from tests.support.kafka.record_batches import a_batch
from topicserve.embedded.broker.error_codes import KafkaError
from topicserve.embedded.broker.log.partition import AbortedTransaction, Partition
from topicserve.embedded.broker.log.partition_files import PartitionFiles
from topicserve.embedded.broker.log.record_batch import RecordBatch, transaction_marker

NO_LIMIT = 1 << 30


def a_partition(path: Path | None = None, *, segment_bytes: int = 1 << 20) -> Partition:
    """Open a partition, in files where there is a path."""
    return Partition("topic", 0, segment_bytes, PartitionFiles(path) if path else None)


def values(batches: list[RecordBatch]) -> list[bytes]:
    """Return the records' values, those of control batches left out."""
    return [
        record.value
        for placed in batches
        for batch in MemoryRecords(bytes(placed.payload))
        if not batch.is_control_batch
        for record in batch
    ]


def read(partition: Partition, offset: int = 0, *, committed: bool = False) -> list[bytes]:
    """Return the values from an offset's batch on."""
    batches = partition.read(offset, committed=committed, max_bytes=NO_LIMIT, at_least_one=True)
    return values(batches)


def test_offsets_follow_on() -> None:
    """Each batch gets the next offsets, and is read from any offset inside it."""
    partition = a_partition()

    offsets = [partition.append(a_batch([b"a", b"b"])), partition.append(a_batch([b"c"]))]

    assert offsets == [0, 2]
    assert partition.end_offset == 3
    assert [read(partition, offset) for offset in range(4)] == [
        [b"a", b"b", b"c"],
        [b"a", b"b", b"c"],
        [b"c"],
        [],
    ]


def test_reads_are_bounded_but_never_stuck() -> None:
    """The first batch comes whatever its size, the next ones only as far as they fit."""
    partition = a_partition(segment_bytes=300)
    for number in range(8):
        partition.append(a_batch([b"%d" % number * 100]))
    size = partition.size_bytes // 8

    def batches(max_bytes: int, *, at_least_one: bool) -> int:
        payloads = partition.read(
            0, committed=False, max_bytes=max_bytes, at_least_one=at_least_one
        )
        return len(payloads)

    assert [batches(limit, at_least_one=True) for limit in (-1, 0, 1)] == [1, 1, 1]
    assert [batches(limit, at_least_one=False) for limit in (-1, 0, size - 1)] == [0, 0, 0]
    assert [batches(limit, at_least_one=True) for limit in (3 * size, 4 * size - 1)] == [3, 3]


@given(
    st.lists(st.integers(min_value=1, max_value=400), min_size=1, max_size=20),
    st.integers(min_value=1, max_value=900),
    st.integers(min_value=1, max_value=600),
)
def test_reading_on_meets_every_record(sizes: list[int], max_bytes: int, segment: int) -> None:
    """Whatever fits, a read never skips what does not: the next one goes on with it."""
    partition = a_partition(segment_bytes=segment)
    for size in sizes:
        partition.append(a_batch([b"v" * size]))

    found: list[int] = []
    while len(found) < len(sizes):
        read = partition.read(len(found), committed=False, max_bytes=max_bytes, at_least_one=True)
        assert len(read) == 1 or sum(len(batch.payload) for batch in read) <= max_bytes
        found += map(len, values(read))

    assert found == sizes


def test_a_waiter_hears_of_the_next_append() -> None:
    """A fetch that waits is told at once; one that has given up is left alone."""

    async def run() -> None:
        partition = a_partition()
        waiting, gone = (asyncio.get_running_loop().create_future() for _ in range(2))
        partition.wait(waiting)
        partition.wait(gone)
        partition.give_up(gone)

        partition.append(a_batch())

        assert waiting.done()
        assert not gone.done()

    asyncio.run(run())


def test_open_transactions_hold_back_the_last_stable_offset() -> None:
    """Readers of committed records see nothing from the first open transaction on."""
    partition = a_partition()
    partition.append(a_batch([b"plain"]))
    partition.append(a_batch([b"one"], producer=(1, 0, 0), transactional=True))
    partition.append(a_batch([b"two"], producer=(2, 0, 0), transactional=True))

    partition.append(transaction_marker(2, 0, committed=True))
    assert partition.last_stable_offset == 1
    assert read(partition, committed=True) == [b"plain"]

    partition.append(transaction_marker(1, 0, committed=True))
    assert partition.last_stable_offset == partition.end_offset == 5
    assert read(partition, committed=True) == [b"plain", b"one", b"two"]


def test_aborted_transactions_are_told() -> None:
    """A reader learns whose records to skip, from where on, for as long as it may meet them."""
    partition = a_partition()
    partition.append(a_batch([b"a", b"b"], producer=(1, 0, 0), transactional=True))
    partition.append(transaction_marker(1, 0, committed=False))

    aborted = [AbortedTransaction(1, 0, 2)]
    assert [partition.aborted_between(first, 9) for first in (0, 2, 3)] == [aborted, aborted, []]
    assert partition.aborted_between(-2, -1) == []


def test_the_oldest_segment_goes_as_a_whole() -> None:
    """What is dropped is gone from memory, from the start offset and from what is aborted."""
    partition = a_partition(segment_bytes=50)
    partition.append(a_batch([b"a" * 100], producer=(1, 0, 0), transactional=True))
    partition.append(transaction_marker(1, 0, committed=False))
    partition.append(a_batch([b"b" * 100]))
    before = partition.size_bytes

    while partition.log_start_offset < 2:
        before -= partition.drop_oldest_segment()

    assert partition.size_bytes == before
    assert partition.aborted_between(0, 9) == []
    assert read(partition, 2) == [b"b" * 100]


def test_the_last_segment_can_go_too() -> None:
    """A log of one segment becomes empty and goes on with the next offset."""
    partition = a_partition()
    partition.append(a_batch([b"a", b"b"]))

    partition.drop_oldest_segment()

    assert (partition.log_start_offset, partition.end_offset, partition.size_bytes) == (2, 2, 0)
    assert partition.append(a_batch([b"c"])) == 2


def test_records_are_found_by_time() -> None:
    """The first record that is not older, and the newest timestamp, over all batches."""
    partition = a_partition(segment_bytes=1)
    partition.append(a_batch([b"a", b"b"], timestamps=[10, 20]))
    partition.append(a_batch([b"c"], timestamps=[30]))

    assert partition.find_time(15) == (1, 20)
    assert partition.find_time(21) == (2, 30)
    assert partition.find_time(31) is None
    assert partition.newest_timestamp() == 30
    assert a_partition().newest_timestamp() is None


def test_everything_is_back_after_a_restart(tmp_path: Path) -> None:
    """Records, offsets, producers, open and aborted transactions are read from the files."""
    first = a_partition(tmp_path, segment_bytes=150)
    first.append(a_batch([b"a"], producer=(1, 0, 0), transactional=True))
    first.append(transaction_marker(1, 0, committed=False))
    first.append(a_batch([b"b" * 200]))
    first.append(a_batch([b"c"], producer=(2, 0, 0), transactional=True))
    first.drop_oldest_segment()
    first.close()

    second = a_partition(tmp_path, segment_bytes=150)

    assert second.log_start_offset == first.log_start_offset > 0
    assert second.end_offset == first.end_offset
    assert second.size_bytes == first.size_bytes
    assert second.open_transactions == first.open_transactions == {2: 3}
    assert second.producers.check(a_batch([b"c"], producer=(2, 0, 0))) == 3
    assert read(second, second.log_start_offset) == read(first, first.log_start_offset)


def test_a_torn_tail_is_cut_wherever_it_was_torn(tmp_path: Path) -> None:
    """A half-written batch is gone after the start, and appends go on where it began."""
    intact = a_batch([b"kept"])
    torn = bytes(a_batch([b"torn" * 5]).at(1).payload)
    for length in range(len(torn)):
        directory = tmp_path / str(length)
        first = a_partition(directory)
        first.append(intact)
        first.close()
        (path,) = directory.iterdir()
        path.write_bytes(path.read_bytes() + torn[:length])

        second = a_partition(directory)

        assert read(second) == [b"kept"]
        assert second.append(a_batch([b"next"])) == 1
        second.close()
        assert read(a_partition(directory)) == [b"kept", b"next"]


def test_a_write_that_fails_leaves_the_log_as_it_was(tmp_path: Path) -> None:
    """A full disk refuses one batch and spoils none."""
    partition = a_partition(tmp_path)
    partition.append(a_batch([b"kept"]))
    read_only = os.open(os.devnull, os.O_RDONLY)
    assert partition._files is not None
    writable, partition._files._file = partition._files._file, read_only
    try:
        partition.append(a_batch([b"lost"]))
    except OSError:
        failed = True
    partition._files._file = writable
    os.close(read_only)

    assert failed
    assert partition.append(a_batch([b"next"])) == 1
    assert read(partition) == [b"kept", b"next"]


def test_records_below_an_offset_are_deleted() -> None:
    """Whole segments free their memory; the rest is hidden, also from a search by time."""
    partition = a_partition(segment_bytes=1)
    for value in (b"a", b"b", b"c"):
        partition.append(a_batch([value, value]))
    held = partition.size_bytes

    freed = partition.delete_before(3)

    assert partition.log_start_offset == 3
    assert 0 < freed == held - partition.size_bytes
    found = partition.find_time(0)
    assert found is not None
    assert found[0] >= 3
    assert partition.delete_before(1) == 0
    assert partition.log_start_offset == 3
    with pytest.raises(KafkaError):
        partition.delete_before(7)
    partition.delete_before(6)
    assert (partition.log_start_offset, partition.end_offset, partition.size_bytes) == (6, 6, 0)
    assert partition.append(a_batch([b"d"])) == 6
