"""Record batches as clients send them, for tests of the embedded broker."""

from collections.abc import Sequence

from kafka.record import MemoryRecordsBuilder

from topicserve.embedded.broker.record_batch import RecordBatch, read_batches


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
