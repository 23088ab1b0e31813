"""Which dead letters are replayed, as what, and why the others are not.

The rules are asked in this order: replayed before, no dead letter, filters, incomplete, attempts,
deadline, topic, metadata. The first that holds is the reason.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from topicserve.backends.errors import BackendConfigError
from topicserve.backends.metadata_store import MetadataStore
from topicserve.cli.dead_letters.account import Skip
from topicserve.cli.dead_letters.entry import DeadLetterEntry, decode_entry
from topicserve.cli.dead_letters.filters import Filter
from topicserve.cli.dead_letters.replayed import ReplayedOffsets
from topicserve.producer.arguments import topic_name
from topicserve.wire.bodies.json_body import JSON
from topicserve.wire.dead_letter_replay import attempts_of, is_complete, replay_of
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.headers import HeaderReader
from topicserve.wire.kafka_record import KafkaRecord, OutgoingRecord, TopicPartition

PartitionsOf = Callable[[str], int | None]
"""Returns how many partitions a topic has, None where there is none."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to become of one record: either `outgoing` or `skip` is there."""

    record: KafkaRecord
    previous: int
    """The offset of the record before it in its partition."""
    outgoing: OutgoingRecord | None = None
    skip: Skip | None = None
    is_without_metadata: bool = False

    @property
    def partition(self) -> TopicPartition:
        """Return which partition of the dead-letter topic it is in."""
        return TopicPartition(self.record.topic, self.record.partition)


@dataclass(frozen=True, slots=True)
class Rules:
    """What the flags say about every dead letter.

    `to` is the topic of --to; without it a record goes where it came from, to its own partition if
    that still exists. `partitions_of` and `store` may block for a broker and for Redis.
    """

    wanted: Filter
    max_attempts: int
    to: str | None
    partitions_of: PartitionsOf
    skips_missing_metadata: bool
    store: Callable[[], MetadataStore] | None
    """Asked for when the first record has metadata; None: no store is asked."""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


class Selection:
    """Decides about lists of polled records, in order. One thread uses it."""

    def __init__(self, rules: Rules, replayed: dict[TopicPartition, ReplayedOffsets]) -> None:
        """`replayed` has an entry for each partition before its first record comes."""
        self._rules = rules
        self._replayed = replayed
        self._previous: dict[TopicPartition, int] = {}
        self._topics: dict[str, int | None] = {}
        self._headers = HeaderReader(lambda _: JSON)

    def start(self, partition: TopicPartition) -> None:
        """Read a partition from where its first record is that was not replayed."""
        self._previous[partition] = self._replayed[partition].base - 1

    def decide(self, records: Sequence[KafkaRecord]) -> list[Decision]:
        """Return a decision for each record; the store is asked once for all of them.

        Blocks for the store, and for a broker at the first record of each topic. BackendError
        passes: what was not decided is decided by the next replay.
        """
        found = [self._entry_or_skip(record) for record in records]
        entries = [one for one in found if isinstance(one, DeadLetterEntry)]
        missing = self._missing(entries)
        return [
            self._decision(record, one, missing) for record, one in zip(records, found, strict=True)
        ]

    def _decision(
        self, record: KafkaRecord, one: DeadLetterEntry | Skip, missing: set[str]
    ) -> Decision:
        partition = TopicPartition(record.topic, record.partition)
        previous = self._previous[partition]
        self._previous[partition] = record.offset
        if isinstance(one, Skip):
            return Decision(record, previous, skip=one)
        is_missing = one.place in missing
        if is_missing and self._rules.skips_missing_metadata:
            return Decision(record, previous, skip=Skip.METADATA_MISSING)
        outgoing = self._outgoing(one)
        return Decision(record, previous, outgoing, is_without_metadata=is_missing)

    def _entry_or_skip(self, record: KafkaRecord) -> DeadLetterEntry | Skip:
        replayed = self._replayed[TopicPartition(record.topic, record.partition)]
        if record.offset in replayed:
            return Skip.REPLAYED_BEFORE
        try:
            entry = decode_entry(record)
        except InvalidRecordError:
            return Skip.NOT_A_DEAD_LETTER
        return self._skip_of(entry) or entry

    def _skip_of(self, entry: DeadLetterEntry) -> Skip | None:
        if not self._rules.wanted.wants(entry):
            return Skip.NOT_WANTED
        if not is_complete(entry.letter):
            return Skip.INCOMPLETE
        if attempts_of(entry.letter) >= self._rules.max_attempts:
            return Skip.MAX_ATTEMPTS
        if self._is_late(entry):
            return Skip.DEADLINE_PASSED
        if self._rules.to is None and not self._target_partitions(entry):
            return Skip.TOPIC_MISSING
        return None

    def _is_late(self, entry: DeadLetterEntry) -> bool:
        try:
            _, _, deadline, _, _ = self._headers.read(entry.letter.record.headers)
        except InvalidRecordError:
            return False  # it is replayed as it is, for a worker of another configuration
        return deadline is not None and deadline <= self._rules.now()

    def _target_partitions(self, entry: DeadLetterEntry) -> int | None:
        topic = entry.letter.record.topic
        if topic == entry.record.topic:
            return None  # it would become a dead letter of the dead-letter topic
        if topic not in self._topics:
            try:
                self._topics[topic] = self._rules.partitions_of(topic_name(topic))
            except BackendConfigError:
                self._topics[topic] = None
        return self._topics[topic]

    def _outgoing(self, entry: DeadLetterEntry) -> OutgoingRecord:
        if self._rules.to is not None:
            return replay_of(entry.letter, self._rules.to)
        original = entry.letter.record
        # Where it was: its producer may have chosen the partition, or another partitioner.
        count = self._target_partitions(entry) or 0
        partition = original.partition if 0 <= original.partition < count else None
        return replay_of(entry.letter, original.topic, partition)

    def _missing(self, entries: Sequence[DeadLetterEntry]) -> set[str]:
        """Return the places of those whose metadata is not in the store."""
        asked = [entry for entry in entries if entry.needs_metadata]
        if not asked or self._rules.store is None:
            return set()
        found = self._rules.store().get_many([entry.record_id or "" for entry in asked])
        return {entry.place for entry, content in zip(asked, found, strict=True) if content is None}
