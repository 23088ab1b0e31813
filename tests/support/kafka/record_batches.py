"""Record batches as clients send them, for tests of the embedded broker."""

import struct
from collections.abc import Sequence

from kafka.record import MemoryRecordsBuilder
from kafka.record.util import calc_crc32c, encode_varint

from topicserve.embedded.broker.log.record_batch import RecordBatch, read_batches


def a_payload(
    values: Sequence[bytes] = (b"value",),
    *,
    timestamps: Sequence[int] = (),
    producer: tuple[int, int, int] = (-1, -1, -1),
    transactional: bool = False,
    compression: int = 0,
) -> bytes:
    """Return one batch as bytes; `producer` is its id, epoch and first sequence number."""
    producer_id, producer_epoch, base_sequence = producer
    builder = MemoryRecordsBuilder(
        magic=2,
        compression_type=compression,
        batch_size=1 << 30,
        transactional=transactional,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        base_sequence=base_sequence,
    )
    for timestamp, value in zip(timestamps or [1_000] * len(values), values, strict=True):
        builder.append(timestamp=timestamp, key=None, value=value, headers=[])
    builder.close()
    return bytes(builder.buffer())


def a_payload_at(deltas: Sequence[int], last_delta: int | None = None) -> bytes:
    """Return one batch whose records say that they lie so far behind its first offset."""
    records = b"".join(_record_at(delta, b"%d" % at) for at, delta in enumerate(deltas))
    last_delta = len(deltas) - 1 if last_delta is None else last_delta
    checked = struct.pack(">hiqqqhii", 0, last_delta, 1, 1, -1, -1, -1, len(deltas)) + records
    head = struct.pack(">iBI", -1, 2, calc_crc32c(checked))
    return struct.pack(">qi", 0, len(head + checked)) + head + checked


def _record_at(delta: int, value: bytes) -> bytes:
    body = b"\0" + _varint(0) + _varint(delta) + _varint(-1) + _varint(len(value)) + value + b"\0"
    return _varint(len(body)) + body


def _varint(number: int) -> bytes:
    encoded = bytearray()
    encode_varint(number, encoded.append)
    return bytes(encoded)


def a_batch(
    values: Sequence[bytes] = (b"value",),
    *,
    timestamps: Sequence[int] = (),
    producer: tuple[int, int, int] = (-1, -1, -1),
    transactional: bool = False,
) -> RecordBatch:
    """Return one batch that has no place in a log yet."""
    payload = a_payload(
        values, timestamps=timestamps, producer=producer, transactional=transactional
    )
    return next(read_batches(payload))
