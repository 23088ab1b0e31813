"""How many bytes a record takes at the least: what a limit on batches is compared with."""

from topicserve.wire.kafka_record import OutgoingRecord

# A record batch's header in format 2.
_BATCH_BYTES = 61
# Attributes, and the deltas of timestamp and offset: one byte each for the first record.
_FIXED_BYTES = 3


def batch_bytes(record: OutgoingRecord) -> int:
    """Return the size of an uncompressed batch that has this record alone."""
    headers = record.headers
    body = (
        _FIXED_BYTES
        + _length(record.key)
        + _length(record.value)
        + _varint(len(headers))
        + sum(_length(name.encode(errors="replace")) + _length(value) for name, value in headers)
    )
    return _BATCH_BYTES + _varint(body) + body


def _length(data: bytes | None) -> int:
    """Return the size of bytes with their length before them; null has the length -1."""
    return 1 if data is None else _varint(len(data)) + len(data)


def _varint(number: int) -> int:
    """Return the size of a natural number as a zigzag varint, which has 7 bits a byte."""
    return max((number.bit_length() + 7) // 7, 1)
