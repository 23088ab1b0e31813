"""Puts many records into a KafkaProducer at once, with compiled code that builds their batches.

`KafkaProducer.send` (3.0.12) takes a record at a time: it checks the types of each header, adds up
its size twice, takes a lock four times and writes each number of a batch in Python. Here the same
batches are filled for a fifth of that. What is not as results are is left to `send`.
"""

# ruff: noqa: SLF001 - there is no other place

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import kafka
from kafka.producer.future import FutureRecordMetadata
from kafka.producer.producer_batch import ProducerBatch
from kafka.record.memory_records import MemoryRecordsBuilder

from topicserve.backends.kafka_python.compiled_records import CompiledBuilder, is_available
from topicserve.backends.kafka_python.large_batches import LARGE_BYTES, LargeBatchBuilder
from topicserve.wire.kafka_record import OutgoingRecord, Place

_MAGIC, _NO_COMPRESSION = 2, 0
_NO_PRODUCER = (-1, -1, -1)


class Listener(NamedTuple):
    """Who is told what becomes of records, by their index in the list that was sent."""

    written: Callable[[int, Any], None]
    not_written: Callable[[int, Exception], None]


class BulkAppend:
    """Appends to one producer's batches. Any thread may use it."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._accumulator = client._accumulator
        config = self._accumulator.config
        manager = client._transaction_manager
        self._is_transactional = manager is not None and bool(manager.is_transactional())
        self._batch_size = config["batch_size"]
        self._max_bytes = client.config["max_request_size"]
        self.is_possible = (
            is_available()
            and config["message_version"] == _MAGIC
            and config["compression_attrs"] == _NO_COMPRESSION
        )

    def append(
        self,
        partition: kafka.TopicPartition,
        records: Sequence[tuple[int, OutgoingRecord]],
        start: int,
        listener: Listener,
    ) -> int:
        """Append records in order, from one on; return where `KafkaProducer.send` must go on.

        That is at a record that may be too large, or that compiled code does not write; or at any,
        if the producer is closed or its transaction has failed.
        """
        if not self._may_send(partition):
            return start
        accumulator, now = self._accumulator, time.monotonic()
        accumulator._appends_in_progress.increment()
        try:
            with accumulator._tp_lock(partition):
                if accumulator._closed:
                    return start
                stop, is_new = self._fill(partition, records, start, listener, now)
        finally:
            accumulator._appends_in_progress.decrement()
        if is_new:
            self._client._sender.wakeup()
        return stop

    def _may_send(self, partition: kafka.TopicPartition) -> bool:
        if self._client._closed:
            return False
        if self._is_transactional:
            try:
                self._client._transaction_manager.maybe_add_partition_to_transaction(partition)
            except Exception:
                return False  # `send` raises it for each record
        return True

    def _fill(
        self,
        partition: kafka.TopicPartition,
        records: Sequence[tuple[int, OutgoingRecord]],
        start: int,
        listener: Listener,
        now: float,
    ) -> tuple[int, bool]:
        batches = self._accumulator._batches[partition]
        batch = batches[-1] if batches else None
        is_new = False
        for at in range(start, len(records)):
            index, record = records[at]
            if not self._is_ordinary(record):
                return at, is_new
            if batch is None or not _append(batch, index, record, listener, now):
                records_of_batch = self._new_records(len(record.value or b""))
                batch, is_new = ProducerBatch(partition, records_of_batch, now=now), True
                _append(batch, index, record, listener, now)
                batches.append(batch)
                self._accumulator._incomplete.add(batch)
        return len(records), is_new

    def _new_records(self, value_bytes: int) -> MemoryRecordsBuilder:
        builder: Any
        if value_bytes > LARGE_BYTES:
            builder = LargeBatchBuilder(
                *(_MAGIC, _NO_COMPRESSION, False), *_NO_PRODUCER, self._batch_size
            )
        else:
            builder = _Builder(self._batch_size, self._is_transactional)
        return _RecordsBuilder(self._batch_size, builder)

    def _is_ordinary(self, record: OutgoingRecord) -> bool:
        """Return whether compiled code writes a record as the library does, and it is no larger."""
        if record.timestamp_ms is not None or record.partition is not None:
            return False
        if record.value is None or record.key is None or type(record.headers) is not list:
            return False
        try:
            size = CompiledBuilder.estimate_size_in_bytes(record.key, record.value, record.headers)
        except Exception:
            return False  # names or values that are none, which `send` refuses
        return bool(size <= self._max_bytes)


def _append(batch: Any, index: int, record: OutgoingRecord, listener: Listener, now: float) -> bool:
    """Append a record to a batch; False if it has no room. The first one always has."""
    metadata = batch.records.append(None, record.key, record.value, record.headers)
    if metadata is None:
        return False
    batch.max_record_size = max(batch.max_record_size, metadata.size)
    batch.last_append = now
    future = _RecordFuture(batch.produce_future, metadata.offset, index, listener)
    batch._record_futures.append(future)
    return True


class _RecordFuture(FutureRecordMetadata):  # type: ignore[misc]  # the library is untyped
    """A record's future that tells a listener, and makes nothing for others to look at."""

    __slots__ = ("_index", "_listener")

    def __init__(self, produced: Any, offset: int, index: int, listener: Listener) -> None:
        self._index, self._listener = index, listener
        super().__init__(produced, offset, None, None, -1, -1, -1)

    def _produce_success(self, result: Any) -> None:
        first, _, error_of = result
        offset = self.args[0]
        if error_of is not None:
            self.failure(error_of(offset))
            return
        topic, partition = self._produce_future.topic_partition
        place = Place(topic, partition, first if first == -1 else first + offset)
        self.is_done = True  # type: ignore[misc]  # a slot of the library's
        self._listener.written(self._index, place)

    def failure(self, error: Any) -> Any:
        """Tell the listener why the record was not written."""
        found = super().failure(error)
        self._listener.not_written(self._index, self.exception)
        return found


class _RecordsBuilder(MemoryRecordsBuilder):  # type: ignore[misc]  # the library is untyped
    """Builds one batch by a builder of ours; its bytes are what the library's would be."""

    __slots__ = ()

    def __init__(self, batch_size: int, builder: Any) -> None:
        super().__init__(_MAGIC, _NO_COMPRESSION, batch_size)
        self._builder = builder  # type: ignore[misc]  # a slot of the library's


class _Builder:
    """aiokafka's builder with the methods of kafka-python's."""

    def __init__(self, batch_size: int, is_transactional: bool) -> None:
        self._compiled = CompiledBuilder(
            _MAGIC, _NO_COMPRESSION, is_transactional, *_NO_PRODUCER, batch_size
        )
        self.size = self._compiled.size
        self.build = self._compiled.build

    def append(
        self,
        offset: int,
        timestamp_ms: int | None,
        key: bytes | None,
        value: bytes | None,
        headers: Any,
    ) -> Any:
        """Append a record, also one that `send` puts behind ours; None if there is no room.

        Compiled code takes a list and nothing that is derived from one.
        """
        if type(headers) is not list:
            headers = list(headers)
        return self._compiled.append(offset, timestamp_ms, key, value, headers)

    def set_producer_state(
        self, producer_id: int, producer_epoch: int, base_sequence: int, _: bool
    ) -> None:
        """Note who writes the batch; whether in a transaction is known from the start."""
        self._compiled.set_producer_state(producer_id, producer_epoch, base_sequence)

    def __getattr__(self, name: str) -> Any:
        """Return the producer's id, epoch and first sequence number."""
        return getattr(self._compiled, name)


def runs(
    records: Sequence[OutgoingRecord], partitions: Sequence[int | None]
) -> Iterator[tuple[kafka.TopicPartition | None, list[tuple[int, OutgoingRecord]]]]:
    """Yield records in an order that keeps each partition's, those of one partition together.

    The partition of a record without a key is the client's choice: it stays behind all that came
    before it.
    """
    found: dict[tuple[str, int], list[tuple[int, OutgoingRecord]]] = {}
    for index, (record, partition) in enumerate(zip(records, partitions, strict=True)):
        if partition is not None:
            found.setdefault((record.topic, partition), []).append((index, record))
            continue
        yield from _of_partitions(found)
        found.clear()
        yield None, [(index, record)]
    yield from _of_partitions(found)


def _of_partitions(
    found: dict[tuple[str, int], list[tuple[int, OutgoingRecord]]],
) -> Iterator[tuple[kafka.TopicPartition, list[tuple[int, OutgoingRecord]]]]:
    for place, own in found.items():
        yield kafka.TopicPartition(*place), own
