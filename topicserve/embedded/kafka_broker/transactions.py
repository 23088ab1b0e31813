"""Producer ids, and the transactions of those that have a transactional id."""

from collections.abc import Callable
from dataclasses import dataclass, field

from topicserve.embedded.kafka_broker.error_codes import Code
from topicserve.embedded.kafka_broker.groups import CommittedOffset, Group
from topicserve.embedded.kafka_broker.topics import Topics

MAX_TRANSACTION_TIMEOUT_SECONDS = 900.0
_MAX_EPOCH = 32_766


@dataclass(slots=True, eq=False)
class Transaction:
    """A transactional id's producer, and what its open transaction has touched."""

    producer_id: int
    epoch: int
    timeout_seconds: float
    open_since: float | None = None
    partitions: set[tuple[str, int]] = field(default_factory=set)
    offsets: dict[str, dict[tuple[str, int], CommittedOffset]] = field(default_factory=dict)


class Transactions:
    """Kafka's transaction coordinator, for one broker."""

    def __init__(
        self,
        topics: Topics,
        group: Callable[[str], Group],
        clock: Callable[[], float],
        next_producer_id: int = 1000,
    ) -> None:
        self._topics = topics
        self._group = group
        self._clock = clock
        self.next_producer_id = next_producer_id
        self._transactions: dict[str, Transaction] = {}
        self._epochs: dict[int, int] = {}

    def snapshot(self) -> dict[str, tuple[int, int]]:
        """Return each transactional id's producer id and epoch."""
        return {name: (t.producer_id, t.epoch) for name, t in self._transactions.items()}

    def restore(self, snapshot: dict[str, tuple[int, int]]) -> None:
        """Take up the producers of before, and abort what they left open."""
        for name, (producer_id, epoch) in snapshot.items():
            self._transactions[name] = Transaction(producer_id, epoch, 60.0)
            self._epochs[producer_id] = epoch
        for topic in self._topics.all():
            for partition in topic.partitions:
                for producer_id in list(partition.open_transactions):
                    epoch = self._epochs.get(producer_id, 0)
                    partition.end_transaction(producer_id, epoch, committed=False)

    def init_producer(
        self, name: str | None, timeout_seconds: float, producer_id: int, epoch: int
    ) -> tuple[Code, int, int]:
        """Return a producer id and epoch; with a transactional id, fence the one before."""
        if name is None:
            self.next_producer_id += 1
            return Code.NONE, self.next_producer_id, 0
        if not 0 < timeout_seconds <= MAX_TRANSACTION_TIMEOUT_SECONDS:
            return Code.INVALID_TRANSACTION_TIMEOUT, -1, -1
        found = self._transactions.get(name)
        if found is None:
            self.next_producer_id += 1
            found = Transaction(self.next_producer_id, -1, timeout_seconds)
            self._transactions[name] = found
        elif producer_id >= 0 and (producer_id, epoch) != (found.producer_id, found.epoch):
            return Code.PRODUCER_FENCED, -1, -1
        # The epoch goes up first: markers carry it, and so fence the producer of before.
        self._raise_epoch(found)
        if found.open_since is not None:
            self._end(found, committed=False)
        found.timeout_seconds = timeout_seconds
        return Code.NONE, found.producer_id, found.epoch

    def check_produce(
        self, name: str | None, producer_id: int, epoch: int, where: tuple[str, int]
    ) -> Code:
        """Return whether a transactional batch may be appended to a partition."""
        found = self._transactions.get(name or "")
        if found is None or found.producer_id != producer_id:
            return Code.INVALID_PRODUCER_ID_MAPPING
        if epoch != found.epoch:
            return Code.INVALID_PRODUCER_EPOCH
        return Code.NONE if where in found.partitions else Code.INVALID_TXN_STATE

    def check_epoch(self, producer_id: int, epoch: int) -> Code:
        """Return whether a producer has been fenced."""
        fenced = epoch < self._epochs.get(producer_id, epoch)
        return Code.INVALID_PRODUCER_EPOCH if fenced else Code.NONE

    def add_partition(
        self, name: str, producer_id: int, epoch: int, where: tuple[str, int]
    ) -> Code:
        """Make a partition part of the open transaction."""
        found, error = self._claimed(name, producer_id, epoch)
        if found is not None and error is Code.NONE:
            if self._topics.partition(*where) is None:
                return Code.UNKNOWN_TOPIC_OR_PARTITION
            self._open(found)
            found.partitions.add(where)
        return error

    def add_group(self, name: str, producer_id: int, epoch: int) -> Code:
        """Make a group's offsets part of the open transaction."""
        found, error = self._claimed(name, producer_id, epoch)
        if found is not None and error is Code.NONE:
            self._open(found)
        return error

    def add_offset(
        self,
        name: str,
        producer_id: int,
        epoch: int,
        group_id: str,
        where: tuple[str, int],
        offset: CommittedOffset,
    ) -> Code:
        """Keep an offset back until the transaction is committed."""
        found, error = self._claimed(name, producer_id, epoch)
        if found is not None and error is Code.NONE:
            self._open(found)
            found.offsets.setdefault(group_id, {})[where] = offset
        return error

    def has_pending(self, group_id: str, where: tuple[str, int]) -> bool:
        """Return whether an open transaction holds an offset of this group's back."""
        return any(where in t.offsets.get(group_id, ()) for t in self._transactions.values())

    def end(self, name: str, producer_id: int, epoch: int, *, committed: bool) -> Code:
        """Commit or abort."""
        found, error = self._claimed(name, producer_id, epoch)
        if found is not None and error is Code.NONE:
            self._end(found, committed=committed)
        return error

    def tick(self) -> bool:
        """Abort transactions that have been open too long; return whether there was one."""
        now = self._clock()
        expired = [
            t
            for t in self._transactions.values()
            if t.open_since is not None and now - t.open_since > t.timeout_seconds
        ]
        for transaction in expired:
            self._raise_epoch(transaction)
            self._end(transaction, committed=False)
        return bool(expired)

    def _claimed(self, name: str, producer_id: int, epoch: int) -> tuple[Transaction | None, Code]:
        found = self._transactions.get(name)
        if found is None or found.producer_id != producer_id:
            return None, Code.INVALID_PRODUCER_ID_MAPPING
        return found, Code.NONE if epoch == found.epoch else Code.PRODUCER_FENCED

    def _open(self, transaction: Transaction) -> None:
        if transaction.open_since is None:
            transaction.open_since = self._clock()

    def _raise_epoch(self, transaction: Transaction) -> None:
        transaction.epoch += 1
        if transaction.epoch > _MAX_EPOCH:
            self.next_producer_id += 1
            transaction.producer_id, transaction.epoch = self.next_producer_id, 0
        self._epochs[transaction.producer_id] = transaction.epoch

    def _end(self, transaction: Transaction, *, committed: bool) -> None:
        for where in sorted(transaction.partitions):
            partition = self._topics.partition(*where)
            if partition is not None:
                partition.end_transaction(
                    transaction.producer_id, transaction.epoch, committed=committed
                )
        if committed:
            for group_id, offsets in transaction.offsets.items():
                self._group(group_id).offsets.update(offsets)
        transaction.open_since = None
        transaction.partitions = set()
        transaction.offsets = {}
