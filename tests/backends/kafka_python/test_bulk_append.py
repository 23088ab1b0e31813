"""Many records are put into a producer's batches as `KafkaProducer.send` puts each."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import kafka
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import errors
from kafka.producer.record_accumulator import RecordAccumulator
from kafka.record.default_records import DefaultRecordBatchBuilder
from kafka.record.memory_records import MemoryRecords

from topicserve.backends.kafka_python.bulk_append import BulkAppend, Listener, runs
from topicserve.backends.kafka_python.large_batches import LARGE_BYTES, LargeBatchBuilder
from topicserve.backends.kafka_python.workarounds.nulls import _NullableHeaders
from topicserve.wire.kafka_record import OutgoingRecord, Place

pytest.importorskip("aiokafka")

PARTITION = kafka.TopicPartition("out", 2)


@dataclass
class Transaction:
    """What a producer's transaction manager is asked for here."""

    error: Exception | None = None

    def is_transactional(self) -> bool:
        return True

    def maybe_add_partition_to_transaction(self, _: Any) -> None:
        if self.error is not None:
            raise self.error


@dataclass
class Producer:
    """What appending uses of a KafkaProducer: its accumulator, and no network."""

    settings: dict[str, Any] = field(default_factory=dict)
    transaction: Transaction | None = None
    wakeups: int = 0

    def __post_init__(self) -> None:
        self._closed = False
        self._accumulator = RecordAccumulator(**{"batch_size": 1 << 20} | self.settings)
        self._transaction_manager = self.transaction
        self._sender = SimpleNamespace(wakeup=self._wake)
        self.config = {"max_request_size": 10_000}

    def _wake(self) -> None:
        self.wakeups += 1

    @property
    def batches(self) -> list[Any]:
        return list(self._accumulator._batches[PARTITION])


@dataclass
class Outcomes:
    """What was told of each record."""

    told: list[tuple[int, Any]] = field(default_factory=list)

    @property
    def listener(self) -> Listener:
        return Listener(self._note, self._note)

    def _note(self, index: int, outcome: Any) -> None:
        self.told.append((index, outcome))


def a_result(value: bytes | None = b"value", **changes: Any) -> OutgoingRecord:
    """Return a record as results are."""
    fields: dict[str, Any] = {"key": b"key", "headers": [("a", b"1"), ("b", None)]}
    return OutgoingRecord("out", value=value, **fields | changes)


def append(
    producer: Producer, records: Sequence[OutgoingRecord], outcomes: Outcomes | None = None
) -> int:
    """Append records; return where it stopped."""
    listener = (outcomes or Outcomes()).listener
    return BulkAppend(producer).append(PARTITION, list(enumerate(records)), 0, listener)


def read(batch: Any) -> list[Any]:
    """Return the records of a batch as they would be sent."""
    batch.records.close()
    found = [r for part in MemoryRecords(batch.records.buffer()) for r in _checked(part)]
    return [(record.offset, record.key, record.value, record.headers) for record in found]


def _checked(batch: Any) -> Any:
    assert batch.validate_crc()
    return batch


bodies = st.binary(max_size=300)
headers = st.lists(st.tuples(st.text(max_size=8), st.none() | st.binary(max_size=50)), max_size=5)


@given(st.lists(st.tuples(bodies, bodies, headers), min_size=1, max_size=20))
def test_batches_hold_what_was_appended(contents: list[Any]) -> None:
    """Any keys, values and headers, in order, with a checksum that is right."""
    producer = Producer({"batch_size": 1000})
    records = [a_result(value, key=key, headers=own) for key, value, own in contents]

    assert append(producer, records) == len(records)

    batches = producer.batches
    found = [record[1:] for batch in batches for record in read(batch)]
    assert found == [(r.key, r.value, r.headers) for r in records]
    assert all(len(batch.records.buffer()) <= 1000 or batch.record_count == 1 for batch in batches)
    assert [offset for batch in batches for offset, *_ in read(batch)] == [
        offset for batch in batches for offset in range(batch.record_count)
    ]


def test_records_go_on_where_others_began() -> None:
    """One batch may be filled by both ways; a new one wakes the sender, once."""
    producer = Producer()
    producer._accumulator.append(PARTITION, None, b"k", b"first", [])

    append(producer, [a_result(b"second")])
    append(producer, [a_result(b"third")])

    (batch,) = producer.batches
    assert [record[2] for record in read(batch)] == [b"first", b"second", b"third"]
    assert producer.wakeups == 0
    assert append(producer, [a_result(b"behind a batch that is closed")] * 3) == 3
    assert producer.wakeups == 1


@pytest.mark.parametrize(
    "record",
    [
        a_result(None),
        a_result(key=None),
        a_result(headers=()),
        a_result(timestamp_ms=5),
        a_result(partition=2),
        a_result(b"v" * 10_000),
        a_result(headers=[("a", b"h" * 10_000)]),
        a_result(headers=[("\ud800", b"")]),
        a_result(headers=[("a", "text")]),
        a_result("text"),  # type: ignore[arg-type]
    ],
)
def test_what_is_not_as_results_are_is_left_to_the_library(record: OutgoingRecord) -> None:
    """What is before it is appended; it is the library's to send, or to refuse."""
    producer = Producer()

    assert append(producer, [a_result(), record, a_result()]) == 1
    assert append(producer, [record]) == 0
    assert [batch.record_count for batch in producer.batches] == [1]


@pytest.mark.parametrize("end", ["client", "accumulator", "transaction"])
def test_a_producer_that_takes_no_more_is_told_by_the_library(end: str) -> None:
    """It raises what is wrong for each record."""
    producer = Producer(transaction=Transaction())
    if end == "client":
        producer._closed = True
    elif end == "accumulator":
        producer._accumulator._closed = True
    else:
        producer.transaction = producer._transaction_manager = Transaction(errors.KafkaError())

    assert append(producer, [a_result()]) == 0
    assert producer.batches == []


@pytest.mark.parametrize("transaction", [None, Transaction()])
def test_a_batch_says_who_wrote_it(transaction: Transaction | None) -> None:
    """The producer's id and sequence, and whether it is part of a transaction."""
    producer = Producer(transaction=transaction)
    append(producer, [a_result()])
    (batch,) = producer.batches

    batch.records.set_producer_state(7, 3, 11, transaction is not None)
    batch.records.close()

    (written,) = MemoryRecords(batch.records.buffer())
    assert (written.producer_id, written.producer_epoch, written.base_sequence) == (7, 3, 11)
    assert written.is_transactional is (transaction is not None)
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (7, 3, 11)


def test_each_record_is_told_where_it_was_written() -> None:
    """By its index in the list that was sent."""
    producer, outcomes = Producer(), Outcomes()
    append(producer, [a_result(), a_result()], outcomes)
    (batch,) = producer.batches

    batch.complete(40, -1)

    assert outcomes.told == [(0, Place("out", 2, 40)), (1, Place("out", 2, 41))]


def test_each_record_is_told_why_it_was_not_written() -> None:
    """The batch's reason, or its own."""
    producer, outcomes = Producer(), Outcomes()
    append(producer, [a_result(), a_result()], outcomes)
    (batch,) = producer.batches
    own = [errors.InvalidTimestampError(), errors.KafkaError()]

    batch.complete_exceptionally(errors.InvalidRecordError(), own.__getitem__)

    assert outcomes.told == [(0, own[0]), (1, own[1])]


def test_a_batch_that_is_divided_tells_its_records_of_their_own_part() -> None:
    """As the client does when a broker refuses it as too large."""
    producer, outcomes = Producer(), Outcomes()
    append(producer, [a_result(b"%d" % n) for n in range(4)], outcomes)
    batch = producer._accumulator._batches[PARTITION].popleft()
    batch.records.close()

    producer._accumulator.split_and_reenqueue(batch)
    first, second = producer.batches
    second.complete(70, -1)
    first.complete_exceptionally(errors.KafkaError(), lambda _: errors.KafkaTimeoutError())

    assert outcomes.told[:2] == [(2, Place("out", 2, 70)), (3, Place("out", 2, 71))]
    assert [(index, type(error)) for index, error in outcomes.told[2:]] == [
        (0, errors.KafkaTimeoutError),
        (1, errors.KafkaTimeoutError),
    ]


@pytest.mark.parametrize("settings", [{"compression_attrs": 1}, {"message_version": 1}])
def test_other_formats_are_the_librarys(settings: dict[str, Any]) -> None:
    """Compression, which it undoes where it does not help, and formats of old brokers."""
    assert BulkAppend(Producer()).is_possible
    assert not BulkAppend(Producer(settings)).is_possible


def test_the_order_within_a_partition_is_kept() -> None:
    """A record whose partition the client chooses stays where it is."""
    records = [a_result(b"%d" % n) for n in range(5)]

    found = list(runs(records, [1, 0, 1, None, 1]))

    assert [(place and place.partition, [i for i, _ in own]) for place, own in found] == [
        (1, [0, 2]),
        (0, [1]),
        (None, [3]),
        (1, [4]),
    ]


def test_the_adapter_works_without_the_extra() -> None:
    """A plain install has no compiled code, and needs none."""
    program = """
import sys
sys.modules["aiokafka"] = None
from topicserve.backends.kafka_python import broker, compiled_records
from topicserve.backends.kafka_python.workarounds.unreadable import ReadableRecords
print(compiled_records.is_available(), ReadableRecords._at_once)
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert found.stdout == "False False\n", found.stderr


@given(st.lists(st.tuples(st.none() | bodies, st.none() | bodies, headers), max_size=20))
def test_what_send_appends_joins_a_batch_that_was_opened_here(contents: list[Any]) -> None:
    """Records without key and value, and headers without values: as dead letters keep them."""
    producer = Producer()
    append(producer, [a_result(b"first")])
    for key, value, given_headers in contents:
        producer._accumulator.append(PARTITION, None, key, value, _NullableHeaders(given_headers))
    append(producer, [a_result(b"last")])

    (batch,) = producer.batches
    expected = [(key, value, given_headers) for key, value, given_headers in contents]
    assert [(key, value, found) for _, key, value, found in read(batch)[1:-1]] == expected


large = st.builds(bytes, st.integers(LARGE_BYTES - 2, LARGE_BYTES + 2))


@given(st.lists(st.tuples(bodies, bodies | large, headers), min_size=1, max_size=6))
def test_batches_of_large_records_hold_what_was_appended(contents: list[Any]) -> None:
    """Beside small ones, and in batches that small ones began."""
    producer = Producer({"batch_size": 40_000})
    producer.config["max_request_size"] = 1 << 20
    records = [a_result(value, key=key, headers=own) for key, value, own in contents]

    assert append(producer, records) == len(records)

    found = [record[1:] for batch in producer.batches for record in read(batch)]
    assert found == [(r.key, r.value, r.headers) for r in records]
    assert all(len(batch.records.buffer()) <= 40_000 for batch in producer.batches)


some_times = st.integers(1, 2**41)


@given(st.lists(st.tuples(some_times, bodies, bodies | large, headers), min_size=1, max_size=3))
def test_a_large_batch_is_what_the_library_builds(contents: list[Any]) -> None:
    """Byte by byte."""
    arguments = 2, 0, True, 7, 1, 4, LARGE_BYTES * 2
    builders = [kind(*arguments) for kind in (LargeBatchBuilder, DefaultRecordBatchBuilder)]
    sizes = []
    for builder in builders:
        appended = [builder.append(n, *content) for n, content in enumerate(contents)]
        sizes.append([one and one.size for one in appended])

    assert sizes[0] == sizes[1]
    assert builders[0].build() == builders[1].build()


def test_what_send_appends_joins_a_batch_of_large_records() -> None:
    """With a time of its own, or without a key, as any record that is no result."""
    builder = LargeBatchBuilder(2, 0, False, -1, -1, -1, 1 << 20)
    builder.append(0, None, b"k", bytes(LARGE_BYTES), [])
    builder.append(1, 5, None, None, [("a", None)])

    (batch,) = MemoryRecords(bytes(builder.build()))
    assert batch.validate_crc()
    assert [(r.key, r.value and len(r.value), r.headers) for r in batch] == [
        (b"k", LARGE_BYTES, []),
        (None, None, [("a", None)]),
    ]


def test_large_records_end_at_the_size_of_a_batch() -> None:
    """The first always has room; one more is left where it is."""
    builder = LargeBatchBuilder(2, 0, False, -1, -1, -1, 50_000)

    assert builder.append(0, None, b"k", bytes(60_000), []) is not None
    before = builder.size()
    assert builder.append(1, None, b"k", bytes(20), []) is None
    assert builder.size() == before
