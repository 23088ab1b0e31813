"""Record batches (message format 2) as bytes: kept as they came, only their headers are read.

Base offset and leader epoch are patched in place; both lie outside the CRC, so no record is ever
parsed or compressed anew. Layout: Kafka's documentation, "Record Batch".
"""

import struct
import time
from typing import NamedTuple

from kafka.record.util import calc_crc32c, encode_varint

_HEADER = struct.Struct(">qiibIhiqqqhii")
HEADER_BYTES = _HEADER.size
_OFFSET_AND_LENGTH = struct.Struct(">qi")
_PREFIX = struct.Struct(">qii")
_CRC_START = 21
_TRANSACTIONAL = 0x10
_CONTROL = 0x20


class CorruptBatchError(Exception):
    """The bytes are not a whole record batch with a right checksum."""


class BatchHeader(NamedTuple):
    """The header of a record batch, with Kafka's names."""

    base_offset: int
    length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    first_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int

    @property
    def size_bytes(self) -> int:
        """Return the size of the whole batch."""
        return self.length + 12

    @property
    def is_transactional(self) -> bool:
        """Return whether the batch belongs to a transaction."""
        return bool(self.attributes & _TRANSACTIONAL)

    @property
    def is_control(self) -> bool:
        """Return whether the batch is a transaction's end marker."""
        return bool(self.attributes & _CONTROL)

    @property
    def last_sequence(self) -> int:
        """Return the sequence number of the last record, which wraps at 2^31."""
        return (self.base_sequence + self.last_offset_delta) & 0x7FFFFFFF


def read_header(data: bytes | memoryview, start: int = 0) -> BatchHeader:
    """Return the header of the batch that starts there, or raise CorruptBatchError."""
    if start + HEADER_BYTES > len(data):
        raise CorruptBatchError("the header is cut off")
    header = BatchHeader(*_HEADER.unpack_from(data, start))
    if header.length < HEADER_BYTES - 12 or start + header.size_bytes > len(data):
        raise CorruptBatchError("the batch is cut off")
    return header


def check(data: bytes | memoryview, start: int, header: BatchHeader) -> None:
    """Raise CorruptBatchError unless the checksum is right and the counts make sense."""
    body = data[start + _CRC_START : start + header.size_bytes]
    if calc_crc32c(bytes(body)) != header.crc:
        raise CorruptBatchError("the checksum is wrong")
    if header.last_offset_delta < 0 or header.record_count < 0:
        raise CorruptBatchError("the record count is negative")


def placed(batch: bytes | memoryview, header: BatchHeader, base_offset: int) -> bytes:
    """Return the batch with its place in the log written into it."""
    return b"".join((_PREFIX.pack(base_offset, header.length, 0), batch[_PREFIX.size :]))


def end_marker(producer_id: int, producer_epoch: int, *, committed: bool) -> bytes:
    """Return the control batch that ends a producer's transaction in one partition."""
    key = struct.pack(">hh", 0, 1 if committed else 0)
    value = struct.pack(">hi", 0, 0)
    body = bytearray(b"\0\0\0")  # attributes, timestamp delta, offset delta
    for part in (key, value):
        encode_varint(len(part), body.append)
        body += part
    body += b"\0"  # no headers
    record = bytearray()
    encode_varint(len(body), record.append)
    record += body
    now = int(time.time() * 1000)
    attributes = _TRANSACTIONAL | _CONTROL
    tail = (
        struct.pack(">hiqqqhii", attributes, 0, now, now, producer_id, producer_epoch, -1, 1)
        + record
    )
    prefix = struct.pack(">qiibI", 0, 9 + len(tail), 0, 2, calc_crc32c(bytes(tail)))
    return prefix + bytes(tail)


def is_commit_marker(batch: bytes | memoryview) -> bool:
    """Return whether a control batch commits (and does not abort)."""
    # Record: length varint, attributes, two deltas, key length varint (4), then the key's two
    # int16 (version, type); each varint is one byte in these short records.
    return batch[HEADER_BYTES + 8] == 1
