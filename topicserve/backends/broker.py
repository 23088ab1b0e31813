"""The broker port: the narrow contract that both Kafka clients' adapters keep.

Everything that talks to Kafka imports these protocols, and neither client library: the adapters
below `confluent` and `kafka_python` are opened by name, in `kafka_clients.py`. The conformance
suite holds both to each sentence here.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from topicserve.backends.errors import BackendError
from topicserve.wire.kafka_record import (
    KafkaRecord,
    OutgoingRecord,
    Place,
    TopicIdentity,
    TopicPartition,
)

MAX_OFFSET_TEXT_BYTES = 4095
"""The longest text beside an offset: `offset.metadata.max.bytes` less the zero byte behind it."""


class OffsetAndMetadata(int):
    """An offset, and the text that is committed beside it (Kafka's offset metadata).

    It is an int, so it goes wherever an offset does. Brokers refuse more than 4,096 bytes of text
    (`offset.metadata.max.bytes`).
    """

    metadata: str

    def __new__(cls, offset: int, metadata: str = "") -> "OffsetAndMetadata":
        """Return the offset with its text."""
        made = super().__new__(cls, offset)
        made.metadata = metadata
        return made


def metadata_of(offset: int) -> str:
    """Return the text to commit beside an offset: a plain int has none."""
    return offset.metadata if isinstance(offset, OffsetAndMetadata) else ""


Offsets = Mapping[TopicPartition, int]
"""The next offset to read of each partition, as Kafka commits it; OffsetAndMetadata where a text
is committed too."""

OnDelivery = Callable[[Sequence[BackendError | None]], None]
"""Called once for one `send`: for each record None, or why it was not acknowledged."""

Places = list[Place | None]
"""Where each record of one `send` was written; None for those that were not."""


class RebalanceListener(Protocol):
    """Hears which partitions this member has, one call at a time, while `Consumer.poll` runs.

    Calls may come from a thread of the client's, so implementations lock what they share.
    """

    def on_assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """Take note of newly assigned partitions (only the new ones). Returns at once."""

    def on_revoked(self, partitions: Sequence[TopicPartition]) -> Offsets:
        """Give up partitions and return the offsets to commit before they go.

        May wait for work in progress, for at most the listener's own drain budget; heartbeats go
        on meanwhile. The adapter commits what is returned before the partitions are given up.
        """

    def on_lost(self, partitions: Sequence[TopicPartition]) -> None:
        """Forget partitions that someone else may already own. Nothing can be committed."""


class ConsumerStats(NamedTuple):
    """What a consumer knows without asking the broker."""

    assigned: frozenset[TopicPartition]
    paused: frozenset[TopicPartition]
    lag_records: Mapping[TopicPartition, int]
    """Records behind the last known high watermark; partitions not yet known are left out."""
    positions: Mapping[TopicPartition, int] = {}
    """Up to where every readable record was returned by `poll`, since the last `seek`.

    It may lie behind transaction markers and aborted records. What is not known is left out.
    """
    problem: str = ""
    """The last error that the client retries by itself, with its partition or topic where it is one
    partition's; empty once records have come since."""
    is_member: bool = False
    """Whether the group has taken this member in, also where it has no partition for it."""


class Consumer(Protocol):
    """A member of a consumer group.

    One thread owns it and makes all calls, so nothing of it is locked; the listener's calls come
    while that thread waits in `poll`. Whatever takes a timeout blocks for that long at most, and
    `group_metadata` until the client is connected; the rest answers at once.

    What each error asks of the caller, wherever it is raised: BackendUnavailableError to call
    again, AuthenticationError and BackendConfigError other settings, UnknownTopicError the topic,
    FencedError to stop, since another process has this one's place.
    """

    def subscribe(self, topics: Sequence[str], listener: RebalanceListener) -> None:
        """Join the group for these topics at the next `poll`. May be called once."""

    def poll(self, timeout_seconds: float, max_records: int) -> list[KafkaRecord]:
        """Return polled records in offset order per partition, empty when none came in time.

        Must be called often (also while everything is paused) to stay in the group. A broker that
        is away is not an error here: the result is empty and the client reconnects by itself.

        Raises AuthenticationError, UnknownTopicError, FencedError.
        """

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Stop returning records of these partitions until resume, which loses none of them."""

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Return records of these partitions again. Partitions no longer assigned are ignored."""

    def seek(self, offsets: Offsets) -> None:
        """Read on from these offsets; partitions no longer assigned are ignored."""

    def commit(self, offsets: Offsets, timeout_seconds: float) -> None:
        """Commit these offsets and wait for the answer.

        Raises CommitRefusedError when the group has moved on: a rebalance follows within `poll`,
        and these offsets are not this member's to commit any more; and for a topic that was
        deleted. BackendUnavailableError when no answer came in time: whether they were committed is
        then unknown; commit again.
        """

    def committed(
        self, partitions: Sequence[TopicPartition], timeout_seconds: float
    ) -> dict[TopicPartition, int | None]:
        """Return the group's committed offsets, None where there is none.

        Each is an OffsetAndMetadata. Raises BackendUnavailableError when no answer came in time.
        """

    def group_metadata(self) -> Any:
        """Return what `Producer.send_offsets_to_transaction` of the same client needs (KIP-447)."""

    def stats(self) -> ConsumerStats:
        """Return assignment, pauses and lag without a round trip."""

    def close(self, timeout_seconds: float) -> None:
        """Leave the group without committing, within the time given."""


class Producer(Protocol):
    """Sends lists of records.

    Any thread may call `send` and `flush`, also several at once; what is in flight is counted under
    a lock of the adapter's, which is never held while `on_delivery` runs. Transactions belong to
    one thread at a time, as the caller ensures. `send`, and whatever takes a timeout, may block.

    What each error asks of the caller, wherever it is raised: BackendUnavailableError (such as
    BacklogFullError) to call again, RecordRefusedError another record, TransactionAbortedError to
    abort and to do everything since the last commit again, CommitRefusedError the same after the
    rebalance that follows, FencedError to stop. An error of an ordinary `send` that is none of them
    ends the worker.
    """

    def send(
        self,
        records: Sequence[OutgoingRecord],
        on_delivery: OnDelivery,
        timeout_seconds: float | None = None,
        places: Places | None = None,
    ) -> None:
        """Hand records to the client in order, and return before they are acknowledged.

        `on_delivery` is called once, when every record of the list is acknowledged or has failed,
        always from the adapter's delivery thread, one call at a time, never from inside `send`.
        It must be quick and must not raise. A record not acknowledged within the delivery timeout
        fails with DeliveryTimeoutError, whatever the client does. Per key, order is kept. A record
        that the client itself refuses fails with RecordRefusedError; the others are sent.

        `places`, a list of as many None, holds where each record was written once `on_delivery` is
        called. It needs a producer with "topicserve.delivery.places", and costs a call a record.

        Waits while more records or bytes are in flight than allowed, and raises BacklogFullError
        when that does not change within the time given, which is the delivery timeout where none
        is; nothing was sent then. A list larger than the bounds is sent when nothing else is in
        flight.
        """

    def flush(self, timeout_seconds: float) -> bool:
        """Wait until nothing is in flight; False if the time ran out first."""

    def init_transactions(self, timeout_seconds: float) -> None:
        """Take the transactional id over, fencing the process that used it before."""

    def begin_transaction(self) -> None:
        """Open a transaction; everything sent from here on belongs to it."""

    def send_offsets_to_transaction(
        self, offsets: Offsets, group_metadata: Any, timeout_seconds: float
    ) -> None:
        """Make these offsets part of the open transaction, once all of its records are settled.

        Raises TransactionAbortedError if a record of the transaction was not written, and
        BackendUnavailableError if some are not acknowledged in time; ask again then.
        """

    def commit_transaction(self, timeout_seconds: float) -> None:
        """Commit, once all records of the transaction are settled.

        Never commits a transaction of which a record was not written. Raises
        TransactionAbortedError (abort and redo), FencedError (stop), and BackendUnavailableError if
        some records are not acknowledged in time (ask again).
        """

    def abort_transaction(self, timeout_seconds: float) -> None:
        """Abort the open transaction; readers of committed records never see it."""

    def close(self, timeout_seconds: float) -> None:
        """Flush within the time given and close; what is left fails its `on_delivery`."""


class LogOffsets(NamedTuple):
    """Which offsets a partition has."""

    start: int
    """The first one: retention and DeleteRecords (KIP-107) move it on."""
    end: int
    """The next one to be written: the high watermark."""


class GroupMember(NamedTuple):
    """A member of a consumer group, as the group's coordinator knows it."""

    member_id: str
    client_id: str
    """The client's `client.id`: a worker's own is its worker id."""
    host: str
    group_instance_id: str | None
    partitions: tuple[TopicPartition, ...]
    """What it is assigned; empty while the group rebalances."""


class GroupDescription(NamedTuple):
    """A consumer group: its state in Kafka's words, such as "Stable", and its members.

    One that does not exist is "Dead".
    """

    state: str
    members: tuple[GroupMember, ...]


class Admin(Protocol):
    """What the program asks a broker outside the data path.

    One thread at a time. Each call blocks for its timeout at most, and connects if need be. Errors
    ask what they ask everywhere (see Consumer): BackendUnavailableError when no broker answered in
    time, AuthenticationError and BackendConfigError for other settings, UnknownTopicError for a
    topic that is not there where a call needs one.
    """

    def partitions(self, topic: str, timeout_seconds: float) -> int | None:
        """Return how many partitions a topic has, None if there is no such topic.

        Raises BackendUnavailableError when no one answers in time, AuthenticationError.
        """

    def create_topic(
        self,
        topic: str,
        partitions: int,
        timeout_seconds: float,
        config: Mapping[str, str] | None = None,
    ) -> bool:
        """Create a topic with the broker's default replication; False if it was there already."""

    def topic_config(self, topic: str, name: str, timeout_seconds: float) -> str | None:
        """Return one setting of a topic, such as "max.message.bytes"; None if there is none."""

    def delete_topic(self, topic: str, timeout_seconds: float) -> bool:
        """Delete a topic with all its records; False if it was not there."""

    def end_offsets(self, topic: str, timeout_seconds: float) -> dict[TopicPartition, int]:
        """Return each partition's next offset to be written."""

    def close(self) -> None:
        """Close the connections."""


class OffsetsAdmin(Admin, Protocol):
    """An admin that also knows offsets by partition.

    It needs no membership: what it asks of a group changes nothing in it. All of a call's
    partitions are answered, or it raises.
    """

    def log_offsets(
        self, partitions: Sequence[TopicPartition], timeout_seconds: float
    ) -> dict[TopicPartition, LogOffsets]:
        """Return which offsets these partitions have."""

    def committed(
        self, group_id: str, partitions: Sequence[TopicPartition], timeout_seconds: float
    ) -> dict[TopicPartition, int | None]:
        """Return a group's committed offsets, None where there is none.

        Each is an OffsetAndMetadata.
        """

    def offsets_at_time(
        self, partitions: Sequence[TopicPartition], timestamp_ms: int, timeout_seconds: float
    ) -> dict[TopicPartition, int | None]:
        """Return the offset of the first record at or after a time; None where there is none."""

    def topic_identity(self, topic: str, timeout_seconds: float) -> TopicIdentity | None:
        """Return which topic this is; None if there is none of the name."""

    def describe_group(self, group_id: str, timeout_seconds: float) -> GroupDescription:
        """Return a group's state and its members."""


class Broker(Protocol):
    """Opens consumers and producers of one client library.

    Settings are Kafka's own names and values as Kafka's documentation spells them
    ("session.timeout.ms": 10000); each adapter maps what its client spells otherwise and raises
    BackendConfigError, naming the key, for what its client does not have.
    """

    def consumer(self, group_id: str, settings: Mapping[str, object] | None = None) -> Consumer:
        """Open a member of a group; auto-commit is always off."""

    def producer(self, settings: Mapping[str, object] | None = None) -> Producer:
        """Open a producer; idempotent, acks=all unless the settings say otherwise.

        Besides Kafka's, understands "topicserve.max.in.flight.records" and
        "topicserve.max.in.flight.bytes", and "topicserve.delivery.places", true where `send` is
        given `places`. With "transactional.id" it is transactional.
        """

    def admin(self) -> OffsetsAdmin:
        """Open an admin connection."""
