"""Record batches (format v2) as bytes: only headers are read, until a time is asked for.

Checked on the way in are the length, the checksum, the format and the record count of each batch;
records within are the clients' affair, as they are for Apache Kafka.
"""

import struct
import time
from collections.abc import Iterator
from typing import NamedTuple

from kafka.record import MemoryRecords
from kafka.record.util import calc_crc32c, encode_varint

from topicserve.embedded.broker.error_codes import ErrorCode, KafkaError

MAGIC = 2
# baseOffset length | leaderEpoch magic crc | attributes lastOffsetDelta baseTimestamp maxTimestamp
# producerId producerEpoch baseSequence count
_HEADER = struct.Struct(">qi iBI hiqq qhii")
_PLACE = struct.Struct(">qii")
_AFTER_LENGTH = 12
_CRC_START = 21
_TRANSACTIONAL, _CONTROL = 0x10, 0x20
_LEADER_EPOCH = 0
_SEQUENCES = 1 << 31  # sequence numbers wrap round before the sign bit

Buffer = bytes | memoryview


class RecordBatch(NamedTuple):
    """One batch with the numbers that a log needs; `payload` is what goes over the wire."""

    base_offset: int
    last_offset: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    last_sequence: int
    is_transactional: bool
    is_control: bool
    payload: Buffer

    @property
    def aborts(self) -> bool:
        """Tell whether this control batch is the end of an aborted transaction."""
        return self.is_control and _marker_type(self.payload) == 0

    def at(self, base_offset: int) -> "RecordBatch":
        """Return the batch moved to an offset; both patched fields are outside the checksum."""
        payload = memoryview(self.payload)
        placed = _PLACE.pack(base_offset, len(payload) - _AFTER_LENGTH, _LEADER_EPOCH)
        return self._replace(
            base_offset=base_offset,
            last_offset=base_offset + self.last_offset - self.base_offset,
            payload=b"".join((placed, payload[_PLACE.size :])),
        )


def read_batches(records: Buffer) -> Iterator[RecordBatch]:
    """Yield the batches of a produce request or a file.

    Raises KafkaError: CORRUPT_MESSAGE where bytes are missing, spoilt or left over.
    """
    view = memoryview(records)
    start = 0
    while start < len(view):
        batch = _read_batch(view[start:])
        yield batch
        start += len(batch.payload)


def _read_batch(view: memoryview) -> RecordBatch:
    if len(view) < _HEADER.size:
        raise KafkaError(ErrorCode.CORRUPT_MESSAGE, "the batch is shorter than its header")
    (base, length, _, magic, crc, attributes, last_delta, _, max_timestamp, *producer, count) = (
        _HEADER.unpack_from(view)
    )
    if magic != MAGIC:
        raise KafkaError(ErrorCode.UNSUPPORTED_FOR_MESSAGE_FORMAT, "only record batches v2")
    payload = view[: _AFTER_LENGTH + length]
    if length < _HEADER.size - _AFTER_LENGTH or len(payload) != _AFTER_LENGTH + length:
        raise KafkaError(ErrorCode.CORRUPT_MESSAGE, "the batch is not as long as it says")
    if calc_crc32c(payload[_CRC_START:]) != crc:
        raise KafkaError(ErrorCode.CORRUPT_MESSAGE, "the batch's checksum is wrong")
    if not 0 < count == last_delta + 1:
        raise KafkaError(ErrorCode.INVALID_RECORD, "the batch's record count is wrong")
    producer_id, producer_epoch, base_sequence = producer
    return RecordBatch(
        base,
        base + last_delta,
        max_timestamp,
        producer_id,
        producer_epoch,
        base_sequence,
        (base_sequence + last_delta) % _SEQUENCES,
        bool(attributes & _TRANSACTIONAL),
        bool(attributes & _CONTROL),
        payload,
    )


def next_sequence(sequence: int) -> int:
    """Return the sequence number after this one."""
    return (sequence + 1) % _SEQUENCES


def transaction_marker(producer_id: int, producer_epoch: int, *, committed: bool) -> RecordBatch:
    """Return the control batch that ends a transaction in a partition."""
    now = int(time.time() * 1000)
    key = struct.pack(">hh", 0, int(committed))
    value = struct.pack(">hi", 0, 0)
    body = b"".join((b"\0\0\0", _varint(len(key)), key, _varint(len(value)), value, b"\0"))
    record = _varint(len(body)) + body
    checked = struct.pack(
        ">hiqqqhii",
        _TRANSACTIONAL | _CONTROL,
        0,
        now,
        now,
        producer_id,
        producer_epoch,
        -1,
        1,
    )
    checked += record
    length = _CRC_START - _AFTER_LENGTH + len(checked)
    head = struct.pack(">qiiBI", 0, length, _LEADER_EPOCH, MAGIC, calc_crc32c(checked))
    return _read_batch(memoryview(head + checked))


def first_record_since(payload: Buffer, timestamp: int) -> tuple[int, int] | None:
    """Return offset and timestamp of a batch's first record that is not older."""
    for batch in MemoryRecords(bytes(payload)):
        for record in batch:
            if record.timestamp >= timestamp:
                return record.offset, record.timestamp
    return None


def _varint(value: int) -> bytes:
    encoded = bytearray()
    encode_varint(value, encoded.append)
    return bytes(encoded)


def _marker_type(payload: Buffer) -> int:
    # After the header: record length, attributes, timestamp delta, offset delta and key length, one
    # byte each; then the key: version (2 bytes) and type (2 bytes).
    return int(struct.unpack_from(">h", payload, _HEADER.size + 5 + 2)[0])
