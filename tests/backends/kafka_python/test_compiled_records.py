"""Compiled code reads batches as kafka-python does, and leaves to it what it does not."""

import struct
from collections.abc import Callable, Sequence
from typing import Any

import kafka
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from kafka.record import MemoryRecordsBuilder
from kafka.record.memory_records import MemoryRecords
from kafka.record.util import calc_crc32c

from topicserve.backends.kafka_python.compiled_records import next_batch
from topicserve.backends.kafka_python.reading.consumer import records_of
from topicserve.backends.kafka_python.workarounds.unreadable import MAX_FETCHES, ReadableRecords
from topicserve.wire.kafka_record import KafkaRecord, UnreadableHeaders

pytest.importorskip("aiokafka")

PARTITION = kafka.TopicPartition("in", 3)
Record = tuple[int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]
contents = st.none() | st.binary(max_size=200)
some_records = st.lists(
    st.tuples(
        st.integers(0, 2**41),
        contents,
        contents,
        st.lists(st.tuples(st.text(max_size=5), contents), max_size=4),
    ),
    min_size=1,
    max_size=5,
)
ONE: list[Record] = [(1_700_000_000_000, b"key", b"value", [("a", b"b"), ("c", None)])]


def a_batch(records: Sequence[Record], compression: int = 0) -> bytearray:
    """Return a batch of these records as kafka-python's producer writes it."""
    builder = MemoryRecordsBuilder(2, compression, 1 << 30)
    for record in records:
        builder.append(*record)
    builder.close()
    return bytearray(builder.buffer())


def sealed(batch: bytearray) -> bytes:
    """Return a batch with the checksum of what is in it now."""
    struct.pack_into(">I", batch, 17, calc_crc32c(bytes(batch[21:])))
    return bytes(batch)


def read(batch: bytes, *, at_once: bool, take: int = 7) -> tuple[list[Any], int]:
    """Return what a fetcher makes of a batch, so many records at a time, and where it reads on."""
    kind = type(
        "Records",
        (ReadableRecords,),
        {"_fetches": {(PARTITION, 0): MAX_FETCHES - 1}, "_at_once": at_once},
    )
    records = kind(0, PARTITION, MemoryRecords(batch))
    found: list[Any] = []
    while records:
        found += records.take(take)
    return found, records.next_fetch_offset


def shown(batch: bytes, *, at_once: bool) -> Any:
    """Return everything that can be seen of a batch that was read."""
    found, following = read(batch, at_once=at_once)
    return following, [
        (one, one.headers.problem if isinstance(one.headers, UnreadableHeaders) else None)
        for one in records_of({PARTITION: found})
    ]


def test_ordinary_records_are_read_by_compiled_code() -> None:
    """All of a batch, and they are the port's at once."""
    found, following = read(sealed(a_batch(ONE * 1200)), at_once=True)

    assert [type(record) for record in found] == [KafkaRecord] * 1200
    assert found[1199] == KafkaRecord("in", 3, 1199, *ONE[0])
    assert following == 1200


@given(some_records, st.sampled_from([0, 1, 2, 3, 4]))
def test_any_records_are_read_alike(records: list[Record], compression: int) -> None:
    """With and without keys, values and headers, in any order of time, and compressed."""
    batch = sealed(a_batch(records, compression))

    assert shown(batch, at_once=True) == shown(batch, at_once=False)


@given(
    some_records,
    st.lists(st.tuples(st.integers(21, 400), st.integers(0, 255)), min_size=1, max_size=3),
    st.integers(0, 30),
)
@example(ONE, [(21, 1)], 0)
@example(ONE, [(27, 0x80)], 0)  # before the epoch
def test_hostile_batches_are_read_alike(
    records: list[Record], changes: list[tuple[int, int]], cut: int
) -> None:
    """Whatever a producer writes behind a checksum that is right: the same records, and words."""
    batch = a_batch(records)
    for place, octet in changes:
        batch[min(place, len(batch) - 1)] = octet
    del batch[max(len(batch) - cut, 61) :]
    struct.pack_into(">i", batch, 8, len(batch) - 12)
    payload = sealed(batch)

    assert shown(payload, at_once=True) == shown(payload, at_once=False)


@pytest.mark.parametrize("bad", [0, 1, 600, 1199])
def test_what_is_good_before_a_bad_record_is_read(bad: int) -> None:
    """By either code, each record once; the rest of the batch is passed over as one."""
    batch = a_batch([(1, None, b"%04d" % number, []) for number in range(1200)])
    place = batch.index(b"%04d" % bad)
    batch[place - 1] = 0x7F  # the length of the value
    payload = sealed(batch)

    found, following = read(payload, at_once=True)

    assert shown(payload, at_once=True) == shown(payload, at_once=False)
    assert [record.value for record in found[:-1]] == [b"%04d" % n for n in range(bad)]
    assert isinstance(found[-1].headers, UnreadableHeaders)
    assert following == 1200


def test_a_name_that_is_not_utf8_costs_its_own_record_alone() -> None:
    """Its neighbours are read, and it is told by its name as ever."""
    records: list[Record] = [(1, None, b"%d" % n, [("name", b"x")]) for n in range(3)]
    batch = a_batch(records)
    place = batch.index(b"name", batch.index(b"name") + 1)
    batch[place] = 0xFF
    payload = sealed(batch)

    found, _ = read(payload, at_once=True)

    assert [record.value for record in found] == [b"0", b"1", b"2"]
    assert isinstance(found[1].headers, UnreadableHeaders)
    assert shown(payload, at_once=True) == shown(payload, at_once=False)


def test_records_before_the_position_are_left_out() -> None:
    """A fetch answers with whole batches."""
    kind = type("Records", (ReadableRecords,), {"_fetches": {}, "_at_once": True})
    records = kind(2, PARTITION, MemoryRecords(sealed(a_batch(ONE * 4))))

    assert [record.offset for record in records.take(1)] == [2]
    assert records.next_fetch_offset == 3
    assert [record.offset for record in records.take(9)] == [3]


@given(st.integers(0, 3), st.integers(0, 40))
def test_large_batches_are_read_alike(last: int, cut: int) -> None:
    """Without being copied, also if one is cut off and has another behind it."""
    records: list[Record] = [(1, b"k", bytes(3 << 20), [("a", b"b" * last)]) for _ in range(2)]
    batch = a_batch(records)
    del batch[len(batch) - cut :]
    struct.pack_into(">i", batch, 8, len(batch) - 12)
    payload = sealed(batch) + struct.pack(">qi", 2, -1) * 4

    assert shown(payload, at_once=True) == shown(payload, at_once=False)


def test_a_large_batch_is_read_by_compiled_code() -> None:
    """It is in memory twice, as it came and with a margin: its records need no third copy."""
    payload = sealed(a_batch([(1, b"k", bytes(3 << 20), [])] * 2))

    found, _ = read(payload, at_once=True)

    assert [type(record) for record in found] == [KafkaRecord] * 2


@pytest.mark.parametrize("size", [0, 60, 61])
def test_what_is_shorter_than_a_batch_is_left_to_the_library(size: int) -> None:
    """Which says what is wrong with it."""
    content = bytes(8) + struct.pack(">i", size) + bytes(4) + b"\2" + bytes(max(size - 5, 0))

    def told(next_of: Callable[[Any], Any]) -> Any:
        try:
            batch = next_of(MemoryRecords(content))
            return batch and (batch.base_offset, bytes(batch._buffer), batch._pos)
        except Exception as error:
            return repr(error)

    assert told(next_batch) == told(MemoryRecords.next_batch)
