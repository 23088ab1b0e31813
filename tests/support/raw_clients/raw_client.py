"""What the protocol suite asks of a client library itself, in one spelling for all three.

Settings are Kafka's names. Nothing of ours is in between: what a test sees is what the library and
the broker make of each other.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

LIMIT_SECONDS = 30.0
# kafka-python that is polled more briefly joins no group.
POLL_SECONDS = 0.1

Partition = tuple[str, int]


class RawRecord(NamedTuple):
    """A record as it was read."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    timestamp_ms: int


class RawProducer(Protocol):
    """A producer of a client library."""

    def send(
        self,
        topic: str,
        partition: int,
        value: bytes | None,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
        timestamp_ms: int | None = None,
    ) -> None:
        """Send a record, without waiting."""

    def flush(self) -> None:
        """Wait for all; raise what became of one that failed."""

    def begin(self) -> None:
        """Open a transaction."""

    def send_offsets(self, offsets: Mapping[Partition, int], group_id: str) -> None:
        """Make offsets part of it."""

    def commit(self) -> None:
        """Commit it."""

    def abort(self) -> None:
        """Abort it."""

    def close(self) -> None:
        """Close the connection."""


class RawConsumer(Protocol):
    """A consumer of a client library."""

    def subscribe(self, topic: str) -> None:
        """Join the group."""

    def assign(self, *partitions: Partition) -> None:
        """Read partitions without a group."""

    def seek(self, partition: Partition, offset: int) -> None:
        """Go to an offset."""

    def poll(self) -> list[RawRecord]:
        """Return what comes in POLL_SECONDS."""

    def assignment(self) -> set[Partition]:
        """Return what is assigned."""

    def commit(self, partition: Partition, offset: int, metadata: str = "") -> None:
        """Commit an offset with metadata."""

    def committed(self, partition: Partition) -> int | None:
        """Return what the group has committed."""

    def offsets(self, partition: Partition) -> tuple[int, int]:
        """Return the first offset and the next one."""

    def offset_for_time(self, partition: Partition, timestamp_ms: int) -> int | None:
        """Return the first offset at or after a time."""

    def close(self) -> None:
        """Leave."""


class RawClient(Protocol):
    """A client library on one broker."""

    strategies: Sequence[str]

    def create_topic(self, topic: str, partitions: int) -> None:
        """Create a topic."""

    def create_partitions(self, topic: str, total: int) -> None:
        """Add partitions."""

    def delete_topic(self, topic: str) -> None:
        """Delete a topic."""

    def topics(self) -> set[str]:
        """Return the names of all topics."""

    def producer(self, **settings: object) -> RawProducer:
        """Open a producer; underscores stand for the dots of settings."""

    def consumer(self, group_id: str | None = None, **settings: object) -> RawConsumer:
        """Open a consumer that commits nothing by itself and reads from the beginning."""

    def groups(self) -> set[str]:
        """Return the ids of all groups."""

    def members(self, group_id: str) -> int:
        """Return how many members a group has."""

    def group_offsets(self, group_id: str) -> dict[Partition, int]:
        """Return what a group has committed, as admin tools see it."""

    def commit_metadata(self, group_id: str) -> dict[Partition, str]:
        """Return the metadata that a group's offsets were committed with."""

    def close(self) -> None:
        """Close what is open."""


def write(producer: RawProducer, topic: str, numbers: range) -> None:
    """Write records with these numbers to the first partition, and wait for them."""
    for number in numbers:
        producer.send(topic, 0, b"%d" % number)
    producer.flush()
