"""Kafka records as the adapters of both client libraries take them and hand them over.

Several are made for each record served: a struct costs a quarter of what a named tuple does.
"""

import base64
from collections.abc import Sequence
from typing import NamedTuple, Self

import msgspec

Headers = Sequence[tuple[str, bytes | None]]
"""Kafka record headers in order; a name may occur more than once."""

# A record batch's header in format 2.
_BATCH_BYTES = 61
# Attributes, and the deltas of timestamp and offset: one byte each for the first record.
_FIXED_BYTES = 3


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class Place(NamedTuple):
    """Where a record was written. As in Kafka, -1 is what the broker does not say (`acks=0`)."""

    topic: str
    partition: int
    offset: int


class UnreadableHeaders(tuple[()]):
    """Stands for the headers of what a client could not read: it is empty, and says why.

    Either one record, whose header names are no UTF-8, or, with `first_offset`, all records from
    there up to its own offset, of a batch that is corrupt or too large. The decoder of such a
    record refuses it for what is missing, and finds the reason here; others pay nothing.
    """

    kept: Headers
    first_offset: int | None
    problem: str
    is_too_large: bool

    def __new__(
        cls,
        problem: str,
        kept: Headers = (),
        first_offset: int | None = None,
        *,
        is_too_large: bool = False,
    ) -> "UnreadableHeaders":
        """Keep what could be read, as `kept`."""
        made = super().__new__(cls)
        made.problem, made.kept, made.first_offset = problem, kept, first_offset
        made.is_too_large = is_too_large
        return made


EARLIEST_TIMESTAMP_MS = 1_000_000_000_000
"""September 2001. What is less is no time that a record was published: -1 stands for none, some
producers write 0, and others seconds in the place of milliseconds."""


class KafkaRecord(msgspec.Struct, frozen=True, gc=False):
    """One Kafka record on the way in."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class OutgoingRecord(msgspec.Struct, frozen=True, gc=False):
    """One Kafka record on the way out; the key chooses the partition unless one is given."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None
    timestamp_ms: int | None = None


def batch_bytes(record: OutgoingRecord) -> int:
    """Return the size of an uncompressed batch that has this record alone.

    It is what a topic's limit (`max.message.bytes`) is compared with.
    """
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


class TopicIdentity(NamedTuple):
    """What tells a topic from others of its name: in another cluster, or made again.

    Each is empty where the brokers do not say it.
    """

    cluster_id: str
    topic_id: str
    """Its id (KIP-516, from Kafka 2.8 on), as Kafka's own tools print it."""

    @classmethod
    def of(cls, cluster_id: str | None, topic_id: bytes) -> Self:
        """Return it for the bytes of the id: zeros are how a broker says that it has none."""
        text = base64.urlsafe_b64encode(topic_id).rstrip(b"=").decode() if any(topic_id) else ""
        return cls(cluster_id or "", text)
