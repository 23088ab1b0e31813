from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.support.kafka.record_batches import a_batch
from tests.support.stages.records import ManualClock
from topicserve.embedded.broker.broker import EmbeddedBroker
from topicserve.embedded.broker.config import BrokerConfig
from topicserve.embedded.broker.error_codes import ErrorCode, KafkaError
from topicserve.embedded.broker.groups import CommittedOffset
from topicserve.embedded.broker.log.journal import Journal

TIMEOUT_SECONDS = 60.0
PLACES = [("a", 0), ("a", 1)]
OFFSET = CommittedOffset(5, -1, "")


class Producer:
    """A transactional producer, as the broker sees it."""

    def __init__(self, broker: EmbeddedBroker) -> None:
        self.broker = broker
        self.ids = broker.transactions.init_producer_id("tx", TIMEOUT_SECONDS)
        self._sequences = dict.fromkeys(PLACES, 0)

    def begin(self) -> None:
        """Add both partitions and a group's offsets, and write one record to each."""
        transactions = self.broker.transactions
        transactions.add_partitions("tx", *self.ids, PLACES)
        for topic, index in PLACES:
            self.write(topic, index)
        transactions.add_group("tx", *self.ids, "g")
        transactions.add_offsets("tx", *self.ids, "g", {("in", 0): OFFSET})

    def write(self, topic: str, index: int) -> None:
        """Append one record as part of the transaction."""
        self.broker.transactions.check_produce("tx", *self.ids, (topic, index))
        sequence = self._sequences[topic, index]
        self._sequences[topic, index] += 1
        batch = a_batch(producer=(*self.ids, sequence), transactional=True)
        self.broker.topics.append(self.broker.topics.partition(topic, index), batch)

    def end(self, *, committed: bool) -> None:
        """Commit or abort."""
        self.broker.transactions.end("tx", *self.ids, committed=committed)


def a_broker(path: Path | None = None, clock: ManualClock | None = None) -> EmbeddedBroker:
    """Open a broker that has the topic, on what the path has from before."""
    broker = EmbeddedBroker(BrokerConfig(data_dir=path), clock or ManualClock())
    if broker.topics.find("a") is None:
        broker.topics.create("a", 2)
    return broker


def outcome(broker: EmbeddedBroker) -> list[str]:
    """Say of each partition whether its transaction is open, committed or aborted."""
    return [
        "open"
        if partition.open_transactions
        else "aborted"
        if partition.aborted_between(0, partition.end_offset)
        else "committed"
        for partition in (broker.topics.partition(*place) for place in PLACES)
    ]


def refusal(broker: EmbeddedBroker, producer: Producer) -> ErrorCode:
    """Return why a producer can no longer commit."""
    with pytest.raises(KafkaError) as caught:
        broker.transactions.end("tx", *producer.ids, committed=True)
    return caught.value.code


@pytest.mark.parametrize("committed", [True, False])
def test_records_and_offsets_have_one_outcome(committed: bool) -> None:
    """All partitions get the marker, and the group's offsets are there or not."""
    broker = a_broker()
    producer = Producer(broker)
    producer.begin()
    assert outcome(broker) == ["open", "open"]
    assert broker.groups.offsets("g") == {}
    assert broker.transactions.pending_offsets("g") == {("in", 0)}

    producer.end(committed=committed)

    assert outcome(broker) == ["committed" if committed else "aborted"] * 2
    assert broker.groups.offsets("g") == ({("in", 0): OFFSET} if committed else {})
    assert broker.transactions.pending_offsets("g") == set()


def test_offsets_of_a_deleted_topic_are_not_committed_for_the_next_of_its_name() -> None:
    """Neither those that were committed nor those of a transaction that is open."""
    broker = a_broker()
    broker.topics.create("in", 1)
    producer = Producer(broker)
    broker.groups.commit("g", {("in", 0): OFFSET})
    producer.begin()

    topic = broker.topics.find("in")
    assert topic is not None
    broker.delete_topic(topic)
    broker.topics.create("in", 1)
    producer.end(committed=True)

    assert broker.groups.offsets("g") == {}


def test_to_end_once_more_is_no_error_unless_it_contradicts() -> None:
    """A client that did not hear the answer asks again."""
    broker = a_broker()
    producer = Producer(broker)
    producer.begin()
    producer.end(committed=True)

    producer.end(committed=True)

    with pytest.raises(KafkaError) as caught:
        producer.end(committed=False)
    assert caught.value.code == ErrorCode.INVALID_TXN_STATE


def test_a_newer_producer_fences_the_older_and_aborts_what_it_began() -> None:
    """A zombie can neither write nor commit."""
    broker = a_broker()
    zombie = Producer(broker)
    zombie.begin()

    newer = Producer(broker)

    assert outcome(broker) == ["aborted", "aborted"]
    assert refusal(broker, zombie) == ErrorCode.PRODUCER_FENCED
    with pytest.raises(KafkaError) as caught:
        zombie.write("a", 0)
    assert caught.value.code == ErrorCode.INVALID_PRODUCER_EPOCH
    newer.begin()
    newer.end(committed=True)


def test_a_transaction_that_takes_too_long_is_aborted() -> None:
    """Readers are held back for as long as the timeout, and the producer is fenced."""
    clock = ManualClock()
    broker = a_broker(clock=clock)
    producer = Producer(broker)
    producer.begin()
    clock.advance(TIMEOUT_SECONDS)
    broker.tick()
    assert outcome(broker) == ["open", "open"]

    clock.advance(1)
    broker.tick()

    assert outcome(broker) == ["aborted", "aborted"]
    assert refusal(broker, producer) == ErrorCode.PRODUCER_FENCED


def test_records_outside_a_transaction_are_refused() -> None:
    """Neither an unknown partition, nor an unknown id, nor an ended transaction takes records."""
    broker = a_broker()
    producer = Producer(broker)
    check = broker.transactions.check_produce
    broker.transactions.add_partitions("tx", *producer.ids, PLACES[:1])

    for arguments, code in (
        (("tx", *producer.ids, ("a", 1)), ErrorCode.INVALID_TXN_STATE),
        (("other", *producer.ids, ("a", 0)), ErrorCode.INVALID_PRODUCER_ID_MAPPING),
        ((None, *producer.ids, ("a", 0)), ErrorCode.INVALID_PRODUCER_ID_MAPPING),
    ):
        with pytest.raises(KafkaError) as caught:
            check(*arguments)
        assert caught.value.code == code


def test_who_asks_again_for_the_next_epoch_gets_the_same() -> None:
    """Its answer was late or lost, as under load: it is not fenced by itself, but by another."""
    broker = a_broker()
    transactions = broker.transactions
    ids = transactions.init_producer_id("tx", TIMEOUT_SECONDS)

    bumped = transactions.init_producer_id("tx", TIMEOUT_SECONDS, *ids)
    assert transactions.init_producer_id("tx", TIMEOUT_SECONDS, *ids) == bumped
    assert bumped[1] == ids[1] + 1
    transactions.init_producer_id("tx", TIMEOUT_SECONDS)

    for fenced in (ids, bumped):
        with pytest.raises(KafkaError) as raised:
            transactions.init_producer_id("tx", TIMEOUT_SECONDS, *fenced)
        assert raised.value.code is ErrorCode.PRODUCER_FENCED


def test_an_older_epoch_is_fenced_once_the_newer_is_used() -> None:
    """Then it cannot be the one that had no answer."""
    broker = a_broker()
    transactions = broker.transactions
    ids = transactions.init_producer_id("tx", TIMEOUT_SECONDS)
    bumped = transactions.init_producer_id("tx", TIMEOUT_SECONDS, *ids)
    transactions.add_partitions("tx", *bumped, PLACES)

    with pytest.raises(KafkaError) as raised:
        transactions.init_producer_id("tx", TIMEOUT_SECONDS, *ids)
    assert raised.value.code is ErrorCode.PRODUCER_FENCED


def test_epochs_never_run_out() -> None:
    """Before the largest is reached another producer id goes on with epoch zero."""
    broker = a_broker()
    first = Producer(broker)

    last = [Producer(broker).ids for _ in range(32_768)][-1]

    assert last[0] != first.ids[0]
    assert 0 <= last[1] < 10


@pytest.mark.parametrize("timeout_seconds", [0.0, -1.0, 901.0])
def test_timeouts_are_kafkas(timeout_seconds: float) -> None:
    """No transaction holds readers back longer than transaction.max.timeout.ms."""
    with pytest.raises(KafkaError) as caught:
        a_broker().transactions.init_producer_id("tx", timeout_seconds)
    assert caught.value.code == ErrorCode.INVALID_TRANSACTION_TIMEOUT


def test_what_a_kill_leaves_open_is_aborted(tmp_path: Path) -> None:
    """No one is held back after a restart, and the producer learns of it."""
    producer = Producer(a_broker(tmp_path))
    producer.begin()

    broker = a_broker(tmp_path)

    assert outcome(broker) == ["aborted", "aborted"]
    assert broker.groups.offsets("g") == {}
    assert refusal(broker, producer) == ErrorCode.PRODUCER_FENCED


@pytest.mark.parametrize("committed", [True, False])
def test_a_kill_never_splits_a_transaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    """Whichever write the kill comes before, all partitions and offsets have one outcome."""
    for writes in range(4):
        path = tmp_path / str(writes)
        broker = a_broker(path)
        producer = Producer(broker)
        producer.begin()
        killed_after(monkeypatch, broker, writes)
        with pytest.raises(_KilledError) if writes < 3 else nullcontext():
            producer.end(committed=committed)
        monkeypatch.undo()

        restarted = a_broker(path)

        decided = committed and writes > 0
        assert outcome(restarted) == ["committed" if decided else "aborted"] * 2
        assert restarted.groups.offsets("g") == ({("in", 0): OFFSET} if decided else {})


def test_an_outcome_is_not_taken_for_that_of_the_next_transaction(tmp_path: Path) -> None:
    """Records that follow a commit are aborted when the kill comes before their own."""
    producer = Producer(a_broker(tmp_path))
    producer.begin()
    producer.end(committed=True)
    producer.begin()

    assert outcome(a_broker(tmp_path)) == ["aborted", "aborted"]


def test_producer_ids_are_never_given_out_twice(tmp_path: Path) -> None:
    """Sequence numbers of different producers must not meet under one id."""
    before = [a_broker(tmp_path).transactions.init_producer_id(None, 0)[0] for _ in range(3)]

    assert len(set(before)) == 3


class _KilledError(Exception):
    """The process ends here."""


def killed_after(monkeypatch: pytest.MonkeyPatch, broker: EmbeddedBroker, writes: int) -> None:
    """Let so many writes to journal and logs pass, and then no more."""
    left = [writes]
    put, append = Journal.put, broker.topics.append

    def count() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise _KilledError

    def counted_put(journal: Journal, changes: object) -> None:
        count()
        put(journal, changes)  # type: ignore[arg-type]

    def counted_append(*arguments: object) -> int:
        count()
        return append(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Journal, "put", counted_put)
    monkeypatch.setattr(broker.topics, "append", counted_append)
