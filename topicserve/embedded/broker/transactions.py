"""The transaction coordinator: producer ids, epochs, and the outcome of each transaction.

Apache Kafka's TransactionCoordinator, for one broker (KIP-98, KIP-360, KIP-447).
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from topicserve.embedded.broker.error_codes import ErrorCode, KafkaError
from topicserve.embedded.broker.groups import Groups, Offsets, TopicPartition, offset_facts
from topicserve.embedded.broker.log.journal import Journal, Key
from topicserve.embedded.broker.log.record_batch import transaction_marker
from topicserve.embedded.broker.topics import Topics

_EMPTY, _ONGOING, _COMMITTED, _ABORTED = "Empty", "Ongoing", "Committed", "Aborted"
_LAST_EPOCH = 32_766
_MAX_TIMEOUT_SECONDS = 900.0  # Kafka's transaction.max.timeout.ms


@dataclass(slots=True)
class _Transaction:
    transactional_id: str
    producer_id: int
    producer_epoch: int = -1
    timeout_seconds: float = _MAX_TIMEOUT_SECONDS
    state: str = _EMPTY
    bumped_from: tuple[int, int] | None = None
    """The ids with which its producer asked for the present epoch, if it did."""
    deadline: float = 0.0
    partitions: set[TopicPartition] = field(default_factory=set)
    offsets: dict[str, dict[TopicPartition, Any]] = field(default_factory=dict)


class TransactionCoordinator:
    """Gives out producer ids and runs the transactions (KIP-98, KIP-447), one a transactional id.

    The journal has the outcome, with the offsets that belong to it, before the first marker is
    written. After a kill the outcome that it has is completed; a transaction without one is aborted
    and its producer fenced.
    """

    def __init__(
        self, journal: Journal, topics: Topics, groups: Groups, clock: Callable[[], float]
    ) -> None:
        self._journal = journal
        self._topics = topics
        self._groups = groups
        self._clock = clock
        self._next_producer_id = journal.facts("producer_id").get((), 0)
        self._transactions: dict[str, _Transaction] = {}
        for (name,), fact in journal.facts("transaction").items():
            self._transactions[str(name)] = _Transaction(str(name), *fact)
        self._recover()

    def init_producer_id(
        self,
        transactional_id: str | None,
        timeout_seconds: float,
        producer_id: int = -1,
        producer_epoch: int = -1,
    ) -> tuple[int, int]:
        """Return a producer id and epoch; who used the transactional id before is fenced.

        With the ids that a producer has it asks for its next epoch (KIP-360), and gets the same one
        where it asks again because it had no answer. Raises KafkaError.
        """
        if transactional_id is None:
            return self._new_producer_id(), 0
        if not transactional_id:
            raise KafkaError(ErrorCode.INVALID_REQUEST)
        if not 0 < timeout_seconds <= _MAX_TIMEOUT_SECONDS:
            raise KafkaError(ErrorCode.INVALID_TRANSACTION_TIMEOUT)
        transaction = self._transactions.get(transactional_id)
        if transaction is None:
            transaction = _Transaction(transactional_id, self._new_producer_id())
            self._transactions[transactional_id] = transaction
        elif producer_id >= 0:
            is_again = (producer_id, producer_epoch) == transaction.bumped_from
            if is_again and transaction.state == _EMPTY:
                return transaction.producer_id, transaction.producer_epoch
            _check_current(transaction, producer_id, producer_epoch)
        transaction.bumped_from = (producer_id, producer_epoch) if producer_id >= 0 else None
        self._fence(transaction)
        transaction.timeout_seconds = timeout_seconds
        self._keep(transaction, _EMPTY)
        return transaction.producer_id, transaction.producer_epoch

    def add_partitions(
        self,
        transactional_id: str,
        producer_id: int,
        producer_epoch: int,
        partitions: Iterable[TopicPartition],
    ) -> None:
        """Make partitions part of the transaction; the first begins it.

        Raises KafkaError: INVALID_PRODUCER_ID_MAPPING, PRODUCER_FENCED.
        """
        transaction = self._find(transactional_id, producer_id, producer_epoch)
        self._begin(transaction)
        transaction.partitions.update(partitions)

    def add_group(
        self, transactional_id: str, producer_id: int, producer_epoch: int, group_id: str
    ) -> None:
        """Make a group's offsets part of the transaction; begins it where none is in progress.

        Raises KafkaError: INVALID_PRODUCER_ID_MAPPING, PRODUCER_FENCED.
        """
        transaction = self._find(transactional_id, producer_id, producer_epoch)
        self._begin(transaction)
        transaction.offsets.setdefault(group_id, {})

    def add_offsets(
        self,
        transactional_id: str,
        producer_id: int,
        producer_epoch: int,
        group_id: str,
        offsets: Offsets,
    ) -> None:
        """Let offsets be committed with the transaction; until then no one sees them.

        Raises KafkaError: INVALID_TXN_STATE unless the group was added,
        INVALID_PRODUCER_ID_MAPPING, PRODUCER_FENCED.
        """
        transaction = self._find(transactional_id, producer_id, producer_epoch)
        if transaction.state != _ONGOING or group_id not in transaction.offsets:
            raise KafkaError(ErrorCode.INVALID_TXN_STATE)
        transaction.offsets[group_id].update(offsets)

    def end(
        self, transactional_id: str, producer_id: int, producer_epoch: int, *, committed: bool
    ) -> None:
        """Commit or abort; to say the same once more is no error.

        The outcome is in the journal before the first marker is written. Raises KafkaError:
        INVALID_TXN_STATE where the other outcome was decided, INVALID_PRODUCER_ID_MAPPING,
        PRODUCER_FENCED; OSError where the journal or a partition cannot be written to.
        """
        transaction = self._find(transactional_id, producer_id, producer_epoch)
        outcome = _COMMITTED if committed else _ABORTED
        if transaction.state == _ONGOING:
            self._end(transaction, outcome)
        elif transaction.state != outcome:
            raise KafkaError(ErrorCode.INVALID_TXN_STATE)

    def check_produce(
        self, transactional_id: str | None, producer_id: int, epoch: int, partition: TopicPartition
    ) -> None:
        """Raise KafkaError unless such a batch belongs to a transaction that is in progress."""
        transaction = self._transactions.get(transactional_id or "")
        if transaction is None or transaction.producer_id != producer_id:
            raise KafkaError(ErrorCode.INVALID_PRODUCER_ID_MAPPING)
        if epoch != transaction.producer_epoch:
            raise KafkaError(ErrorCode.INVALID_PRODUCER_EPOCH)
        if transaction.state != _ONGOING or partition not in transaction.partitions:
            raise KafkaError(ErrorCode.INVALID_TXN_STATE)

    def pending_offsets(self, group_id: str) -> Collection[TopicPartition]:
        """Return the partitions whose offsets wait for the end of a transaction."""
        return {
            partition
            for transaction in self._transactions.values()
            for partition in transaction.offsets.get(group_id, ())
        }

    def forget_topic(self, topic: str) -> None:
        """Forget offsets of a topic that is deleted, which open transactions would commit."""
        for transaction in self._transactions.values():
            for offsets in transaction.offsets.values():
                for partition in [each for each in offsets if each[0] == topic]:
                    del offsets[partition]

    def tick(self) -> None:
        """Abort transactions that have taken too long, and fence their producers."""
        now = self._clock()
        for transaction in self._transactions.values():
            if transaction.state == _ONGOING and transaction.deadline < now:
                self._fence(transaction)

    def _begin(self, transaction: _Transaction) -> None:
        if transaction.state != _ONGOING:
            # The last outcome must not be taken for that of records that come from here on.
            self._keep(transaction, _ONGOING)
            transaction.deadline = self._clock() + transaction.timeout_seconds

    def _fence(self, transaction: _Transaction) -> None:
        """Go on to the next epoch, aborting with it what is in progress."""
        transaction.producer_epoch += 1
        if transaction.state == _ONGOING:
            self._end(transaction, _ABORTED)
        if transaction.producer_epoch > _LAST_EPOCH:
            transaction.producer_id, transaction.producer_epoch = self._new_producer_id(), 0

    def _end(self, transaction: _Transaction, outcome: str) -> None:
        offsets = transaction.offsets if outcome == _COMMITTED else {}
        self._keep(transaction, outcome, offset_facts(offsets))
        for topic, index in sorted(transaction.partitions):
            self._mark(transaction, topic, index)
        self._groups.apply(offsets)
        transaction.partitions, transaction.offsets = set(), {}

    def _mark(self, transaction: _Transaction, topic: str, index: int) -> None:
        try:
            partition = self._topics.partition(topic, index)
        except KafkaError:
            return  # deleted meanwhile
        marker = transaction_marker(
            transaction.producer_id,
            transaction.producer_epoch,
            committed=transaction.state == _COMMITTED,
        )
        self._topics.append(partition, marker)

    def _recover(self) -> None:
        """Complete what a kill has interrupted."""
        for transaction in self._transactions.values():
            if transaction.state == _ONGOING:
                self._fence(transaction)
        by_producer = {each.producer_id: each for each in self._transactions.values()}
        for topic in self._topics:
            for partition in topic.partitions:
                for producer_id in list(partition.open_transactions):
                    if producer_id in by_producer:
                        self._mark(by_producer[producer_id], topic.name, partition.index)

    def _find(self, transactional_id: str, producer_id: int, epoch: int) -> _Transaction:
        transaction = self._transactions.get(transactional_id)
        if transaction is None or transaction.producer_id != producer_id:
            raise KafkaError(ErrorCode.INVALID_PRODUCER_ID_MAPPING)
        _check_current(transaction, producer_id, epoch)
        return transaction

    def _new_producer_id(self) -> int:
        self._next_producer_id += 1
        self._journal.put({("producer_id",): self._next_producer_id})
        return int(self._next_producer_id)

    def _keep(
        self, transaction: _Transaction, state: str, more: Mapping[Key, Any] | None = None
    ) -> None:
        """Go on to a state once the journal has it, with more facts in the same breath."""
        fact = [
            transaction.producer_id,
            transaction.producer_epoch,
            transaction.timeout_seconds,
            state,
        ]
        self._journal.put({("transaction", transaction.transactional_id): fact, **(more or {})})
        transaction.state = state


def _check_current(transaction: _Transaction, producer_id: int, epoch: int) -> None:
    if (producer_id, epoch) != (transaction.producer_id, transaction.producer_epoch):
        raise KafkaError(ErrorCode.PRODUCER_FENCED)
