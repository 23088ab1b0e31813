from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from tests.conformance.port.conftest import OpenPort
from tests.support.kafka.kafka_servers import Server, frozen
from tests.support.kafka.port import (
    Deliveries,
    Member,
    Port,
    eventually,
    numbered,
    numbers,
    send,
    unique,
)
from topicserve.backends.broker import OffsetAndMetadata, Producer, metadata_of
from topicserve.backends.errors import (
    BackendUnavailableError,
    CommitRefusedError,
    FencedError,
    TransactionAbortedError,
)
from topicserve.wire.kafka_record import TopicPartition

LIMIT = 30.0
COMMITTED = {"isolation.level": "read_committed"}


def transactional(port: Port, transactional_id: str = "", **settings: object) -> Producer:
    """Open a producer that has its transactional id."""
    spelled = {name.replace("_", "."): value for name, value in settings.items()}
    transactional_id = transactional_id or unique("transactions")
    producer = port.producer({"transactional.id": transactional_id} | spelled)
    producer.init_transactions(LIMIT)
    return producer


def send_all(producer: Producer, topic: str, values: Sequence[int], partition: int = 0) -> None:
    """Send records with these numbers, and wait until they are acknowledged."""
    records = numbered(topic, max(values) + 1, partition)
    assert send(producer, [records[value] for value in values]) == [None] * len(values)


def read_until_end(member: Member) -> list[int]:
    """Return the numbers of all that a member may read."""

    def at_end() -> bool:
        member.poll()
        stats = member.consumer.stats()
        known = stats.assigned and stats.lag_records.keys() == stats.assigned
        return bool(known) and sum(stats.lag_records.values()) == 0

    eventually(at_end)
    return numbers(member.records)


def test_a_transaction_is_seen_when_it_is_committed(port: Port) -> None:
    """Readers of committed records wait for the commit; others see records at once."""
    topic = port.topic(partitions=1)
    producer = transactional(port)
    hasty, patient = port.member(topic), port.member(topic, settings=COMMITTED)
    patient.poll_until(lambda: patient.assigned)

    producer.begin_transaction()
    send_all(producer, topic, range(100))
    hasty.read(100)
    before = patient.poll() + patient.poll()
    producer.commit_transaction(LIMIT)

    assert before == []
    assert numbers(patient.read(100)) == list(range(100))


def test_an_aborted_transaction_is_never_seen(port: Port) -> None:
    """Readers of committed records pass over what was aborted, between what was not."""
    topic = port.topic(partitions=1)
    producer = transactional(port)

    for first, committed in ((0, True), (10, False), (20, True), (30, False)):
        producer.begin_transaction()
        send_all(producer, topic, range(first, first + 10))
        if committed:
            producer.commit_transaction(LIMIT)
        else:
            producer.abort_transaction(LIMIT)

    expected = [*range(10), *range(20, 30)]
    assert read_until_end(port.member(topic, settings=COMMITTED)) == expected


def test_positions_pass_what_is_never_polled(port: Port) -> None:
    """Markers and aborted records at the end: not before the records ahead of them are polled."""
    topic, group = port.topic(partitions=1), unique("group")
    partition = TopicPartition(topic, 0)
    producer = transactional(port)
    for values, ending in ((range(3), "commit_transaction"), (range(3, 8), "abort_transaction")):
        producer.begin_transaction()
        send_all(producer, topic, values)
        getattr(producer, ending)(LIMIT)
    (end,) = port.admin().end_offsets(topic, LIMIT).values()
    member = port.member(topic, group, settings=COMMITTED)

    def at_end() -> bool:
        member.poll(max_records=1)
        position = member.consumer.stats().positions.get(partition, 0)
        assert position <= 3 or numbers(member.records)[-1] == 2
        return position == end

    eventually(at_end)
    assert numbers(member.records) == [0, 1, 2]
    member.consumer.commit({partition: end}, LIMIT)
    member.consumer.seek({partition: 1})
    assert member.consumer.stats().positions.get(partition, 0) <= 1
    eventually(at_end)
    assert numbers(member.records) == [0, 1, 2, 1, 2]


def test_a_transaction_spans_partitions(port: Port) -> None:
    """What went to several partitions and topics is committed together."""
    topics = [port.topic(partitions=3), port.topic(partitions=2)]
    producer = transactional(port)

    producer.begin_transaction()
    for topic in topics:
        assert send(producer, numbered(topic, 50)) == [None] * 50
    producer.commit_transaction(LIMIT)

    for topic in topics:
        read = port.member(topic, settings=COMMITTED).read(50)
        assert sorted(numbers(read)) == list(range(50))


def test_offsets_are_committed_with_the_transaction(port: Port) -> None:
    """The group's offsets move with the commit, and not before."""
    topic, output, group_id = port.topic(partitions=1), port.topic(partitions=1), unique("group")
    send(port.producer(), numbered(topic, 100))
    member = port.member(topic, group_id, COMMITTED)
    member.read(100)
    producer = transactional(port)
    partition = TopicPartition(topic, 0)

    producer.begin_transaction()
    send_all(producer, output, range(60))
    offsets = {partition: OffsetAndMetadata(60, "attempt 2")}
    producer.send_offsets_to_transaction(offsets, member.consumer.group_metadata(), LIMIT)
    producer.commit_transaction(LIMIT)

    found = member.consumer.committed([partition], LIMIT)[partition]
    assert found == 60
    assert metadata_of(found) == "attempt 2"
    member.consumer.close(5)
    assert numbers(port.member(topic, group_id).read(40)) == list(range(60, 100))


def test_aborted_offsets_are_not_committed(port: Port) -> None:
    """An abort leaves the group where it was, and the next transaction may move it."""
    topic, group_id = port.topic(partitions=1), unique("group")
    send(port.producer(), numbered(topic, 10))
    member = port.member(topic, group_id, COMMITTED)
    member.read(10)
    producer = transactional(port)
    partition = TopicPartition(topic, 0)

    producer.begin_transaction()
    producer.send_offsets_to_transaction({partition: 5}, member.consumer.group_metadata(), LIMIT)
    producer.abort_transaction(LIMIT)
    aborted = member.consumer.committed([partition], LIMIT)
    producer.begin_transaction()
    producer.send_offsets_to_transaction({partition: 7}, member.consumer.group_metadata(), LIMIT)
    producer.commit_transaction(LIMIT)

    assert aborted == {partition: None}
    assert member.consumer.committed([partition], LIMIT) == {partition: 7}


def test_an_empty_transaction_commits(port: Port) -> None:
    """Nothing sent is nothing to commit, and no error."""
    topic = port.topic(partitions=1)
    producer = transactional(port)

    producer.begin_transaction()
    producer.commit_transaction(LIMIT)
    producer.begin_transaction()
    producer.abort_transaction(LIMIT)
    producer.begin_transaction()
    send_all(producer, topic, range(3))
    producer.commit_transaction(LIMIT)

    assert numbers(port.member(topic, settings=COMMITTED).read(3)) == [0, 1, 2]


def test_a_zombie_is_fenced(port: Port) -> None:
    """Taking the transactional id over ends the old one's transaction, and then it."""
    topic, transactional_id = port.topic(partitions=1), unique("transactions")
    zombie = transactional(port, transactional_id)
    zombie.begin_transaction()
    send_all(zombie, topic, range(10))

    successor = transactional(port, transactional_id)
    successor.begin_transaction()
    send_all(successor, topic, range(10, 20))
    successor.commit_transaction(LIMIT)

    with pytest.raises(FencedError):
        zombie.commit_transaction(LIMIT)
    assert read_until_end(port.member(topic, settings=COMMITTED)) == list(range(10, 20))


def test_a_fenced_producer_can_send_no_more(port: Port) -> None:
    """A zombie's records fail with FencedError, and the transaction cannot be saved by aborting."""
    topic, transactional_id = port.topic(partitions=1), unique("transactions")
    zombie = transactional(port, transactional_id)
    zombie.begin_transaction()
    send_all(zombie, topic, range(10))
    transactional(port, transactional_id)

    errors = send(zombie, numbered(topic, 5))

    assert {type(error) for error in errors} <= {FencedError, TransactionAbortedError}
    eventually(lambda: ends_fenced(zombie, topic))


def ends_fenced(producer: Producer, topic: str) -> bool:
    """Go on with new transactions, as a worker does, and tell whether that was refused."""
    try:
        producer.abort_transaction(LIMIT)
        producer.begin_transaction()
        send(producer, numbered(topic, 1))
        producer.commit_transaction(LIMIT)
    except FencedError:
        return True
    except (BackendUnavailableError, TransactionAbortedError):
        return False
    raise AssertionError("a zombie has committed")


def test_a_member_that_left_commits_no_offsets(port: Port) -> None:
    """With the group's metadata of an old generation the transaction is refused (KIP-447)."""
    topic, group_id = port.topic(partitions=1), unique("group")
    send(port.producer(), numbered(topic, 10))
    first = port.member(topic, group_id)
    first.read(10)
    stale = first.consumer.group_metadata()
    first.consumer.close(5)
    second = port.member(topic, group_id, COMMITTED)
    second.read(10)
    producer = transactional(port)
    partition = TopicPartition(topic, 0)

    producer.begin_transaction()
    with pytest.raises((CommitRefusedError, TransactionAbortedError)):
        producer.send_offsets_to_transaction({partition: 5}, stale, LIMIT)
    producer.abort_transaction(LIMIT)
    producer.begin_transaction()
    current = second.consumer.group_metadata()
    producer.send_offsets_to_transaction({partition: 10}, current, LIMIT)
    producer.commit_transaction(LIMIT)

    assert second.consumer.committed([partition], LIMIT) == {partition: 10}


def test_offsets_refused_to_one_transaction_are_not_committed_with_the_next(port: Port) -> None:
    """They are of partitions that another member may own by now, and has moved on."""
    topic, group_id = port.topic(partitions=2), unique("group")
    send(port.producer(), [*numbered(topic, 10, 0), *numbered(topic, 10, 1)])
    first = port.member(topic, group_id)
    first.read(20)
    stale = first.consumer.group_metadata()
    first.consumer.close(5)
    second = port.member(topic, group_id, COMMITTED)
    second.read(20)
    producer = transactional(port)
    theirs, ours = TopicPartition(topic, 0), TopicPartition(topic, 1)

    producer.begin_transaction()
    with pytest.raises((CommitRefusedError, TransactionAbortedError)):
        producer.send_offsets_to_transaction({theirs: 5}, stale, LIMIT)
    producer.abort_transaction(LIMIT)
    second.consumer.commit({theirs: 10}, LIMIT)
    producer.begin_transaction()
    current = second.consumer.group_metadata()
    producer.send_offsets_to_transaction({ours: 10}, current, LIMIT)
    producer.commit_transaction(LIMIT)

    assert second.consumer.committed([theirs, ours], LIMIT) == {theirs: 10, ours: 10}


def test_a_crashed_transaction_times_out(port: Port) -> None:
    """A transaction that no one ends is aborted in its time, and holds readers up no longer."""
    topic = port.topic(partitions=1)
    crashed = transactional(port, transaction_timeout_ms=2_000, delivery_timeout_ms=1_500)
    crashed.begin_transaction()
    send_all(crashed, topic, range(10))
    send_all(port.producer(), topic, range(10, 20))

    read = port.member(topic, settings=COMMITTED).read(10)

    assert numbers(read) == list(range(10, 20))


def test_a_silent_broker_asks_for_an_abort(fragile_port: Port, fragile_server: Server) -> None:
    """Records that time out abort their transaction; aborted, the producer goes on as before."""
    topic = fragile_port.topic(partitions=1)
    producer = transactional(
        fragile_port,
        delivery_timeout_ms=1_500,
        request_timeout_ms=1_000,
        linger_ms=0,
        transaction_timeout_ms=20_000,
    )
    producer.begin_transaction()
    send_all(producer, topic, range(5))
    deliveries = Deliveries()

    with frozen(fragile_server):
        producer.send(numbered(topic, 10), deliveries.heard)
        errors = deliveries.wait()

    assert None not in errors
    with pytest.raises(TransactionAbortedError):
        producer.commit_transaction(LIMIT)
    eventually(lambda: aborts(producer))
    producer.begin_transaction()
    send_all(producer, topic, range(20, 30))
    producer.commit_transaction(LIMIT)
    read = read_until_end(fragile_port.member(topic, settings=COMMITTED))
    assert read == list(range(20, 30))


def test_a_commit_may_be_asked_for_again(fragile_port: Port, fragile_server: Server) -> None:
    """A commit that no one answers raises in time; asked again it commits, once."""
    topic = fragile_port.topic(partitions=1)
    producer = transactional(fragile_port)
    producer.begin_transaction()
    send_all(producer, topic, range(10))

    with frozen(fragile_server), pytest.raises(BackendUnavailableError):
        producer.commit_transaction(0.5)
    eventually(lambda: commits(producer))

    assert read_until_end(fragile_port.member(topic, settings=COMMITTED)) == list(range(10))


def aborts(producer: Producer) -> bool:
    """Abort; False where the broker does not answer yet."""
    try:
        producer.abort_transaction(LIMIT)
    except BackendUnavailableError:
        return False
    return True


def commits(producer: Producer) -> bool:
    """Commit; False where the broker does not answer yet."""
    try:
        producer.commit_transaction(LIMIT)
    except BackendUnavailableError:
        return False
    return True


def nothing() -> None:
    """Interrupt a transaction by nothing."""


@dataclass
class Copier:
    """Copies one record of a topic at a time to another, as a worker does, offsets included.

    `interrupt` is called once, when a transaction has got as far as `moment`. Where that may fence
    it (`may_be_fenced`), it begins again, like a worker that is started again.
    """

    port: Port
    topic: str
    output: str
    moment: str = ""
    interrupt: Callable[[], None] = nothing
    may_be_fenced: bool = False
    limit_seconds: float = LIMIT
    settings: dict[str, object] = field(default_factory=dict)
    unanswered: int = 0

    def __post_init__(self) -> None:
        self.partition = TopicPartition(self.topic, 0)
        self.transactional_id = unique("transactions")
        self.producer = transactional(self.port, self.transactional_id, **self.settings)
        self.member = self.port.member(self.topic, settings=COMMITTED)
        self.member.read(1)

    def settle(self, count: int) -> None:
        """Wait until the first commits have reached whom they concern: readers, and the group."""
        self.port.member(self.output, settings=COMMITTED).read(count)
        eventually(lambda: self.committed() == count)

    def copy(self, number: int) -> None:
        """Copy the record of that number and offset, however often that takes."""
        eventually(lambda: self._is_copied(number), LIMIT * 2)

    def _is_copied(self, number: int) -> bool:
        try:
            self._try_to_copy(number)
        except FencedError:
            self._replace_fenced()
        except (BackendUnavailableError, CommitRefusedError, TransactionAbortedError) as error:
            self.unanswered += isinstance(error, BackendUnavailableError)
            try:
                eventually(lambda: aborts(self.producer))
            except FencedError:  # its records may be told of before it is
                self._replace_fenced()
        else:
            return True
        # Whether a commit that failed has committed is the group's to tell.
        return self.committed() == number + 1

    def _replace_fenced(self) -> None:
        assert self.may_be_fenced
        self.producer = transactional(self.port, self.transactional_id, **self.settings)

    def _try_to_copy(self, number: int) -> None:
        self.member.poll()
        self.producer.begin_transaction()
        self._reach("begun")
        # One partition each: that the first was registered does not help the next.
        self.producer.send(numbered(self.output, number + 1, number)[-1:], lambda _: None)
        self._reach("sent")
        self.producer.send_offsets_to_transaction(
            {self.partition: number + 1},
            self.member.consumer.group_metadata(),
            self.limit_seconds,
        )
        self._reach("offsets sent")
        self.producer.commit_transaction(self.limit_seconds)
        self._reach("committed")

    def _reach(self, moment: str) -> None:
        if moment == self.moment:
            self.moment = ""
            self.interrupt()

    def committed(self) -> int | None:
        """Return the group's offset."""
        return self.member.consumer.committed([self.partition], LIMIT)[self.partition]


MOMENTS = ("begun", "sent", "offsets sent", "committed")


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_transaction_may_see_its_broker_restarted(
    open_port: OpenPort, durable_server: Server, broker_name: str, moment: str
) -> None:
    """It commits or is done again, those behind it commit, and no call hangs: all is there once."""
    # The embedded broker keeps no transaction open over a restart, and fences who had one.
    may_be_fenced = broker_name == "embedded"
    port = open_port(durable_server.bootstrap_servers)
    topic, output = port.topic(partitions=1), port.topic(partitions=4)
    send(port.producer(), numbered(topic, 4, 0))
    copier = Copier(port, topic, output, may_be_fenced=may_be_fenced)
    copier.copy(0)
    copier.settle(1)

    def interrupt() -> None:
        if moment == "committed" and broker_name == "apache":
            # 4.3.1 may forget a commit that it was killed right behind: see docs/conformance.md.
            copier.settle(2)
        restart(durable_server)

    copier.moment, copier.interrupt = moment, interrupt
    for number in (1, 2, 3):
        copier.copy(number)

    assert_copied_once(copier, 4)
    assert copier.unanswered == 0


@pytest.mark.parametrize(("client", "broker_name"), [("confluent", "embedded")])
def test_a_client_that_never_answers_again_is_replaced(
    open_port: OpenPort, durable_server: Server
) -> None:
    """With librdkafka's own way of looking for brokers its call hangs: a new client takes over."""
    port = open_port(durable_server.bootstrap_servers)
    topic, output = port.topic(partitions=1), port.topic(partitions=4)
    send(port.producer(), numbered(topic, 4, 0))
    settings: dict[str, object] = {"metadata_recovery_strategy": "rebootstrap"}
    copier = Copier(port, topic, output, settings=settings, limit_seconds=8)
    copier.copy(0)

    copier.moment, copier.interrupt = "begun", lambda: restart(durable_server)
    for number in (1, 2, 3):
        copier.copy(number)

    assert_copied_once(copier, 4)
    assert copier.unanswered == 1


@pytest.mark.parametrize("moment", ["offsets", "commit"])
def test_a_transaction_that_nobody_answers_to_may_be_aborted(
    fragile_port: Port, fragile_server: Server, moment: str
) -> None:
    """A request without an answer does not stand in the way of the next transaction."""
    topic, output = fragile_port.topic(partitions=1), fragile_port.topic(partitions=4)
    send(fragile_port.producer(), numbered(topic, 4, 0))
    copier = Copier(fragile_port, topic, output)
    copier.copy(0)
    producer, metadata = copier.producer, copier.member.consumer.group_metadata()

    producer.begin_transaction()
    producer.send(numbered(output, 2, 1)[-1:], lambda _: None)

    def send_offsets(limit_seconds: float) -> None:
        producer.send_offsets_to_transaction({copier.partition: 2}, metadata, limit_seconds)

    ask: Callable[[float], None] = send_offsets
    if moment == "commit":
        send_offsets(LIMIT)
        ask = producer.commit_transaction
    with frozen(fragile_server), pytest.raises(BackendUnavailableError):
        ask(0.5)
    eventually(lambda: aborts(producer))
    for number in range(copier.committed() or 0, 4):
        copier.copy(number)

    assert_copied_once(copier, 4)


def assert_copied_once(copier: Copier, count: int) -> None:
    """Assert that readers of committed records see each copy once, and where the group is."""
    copies = read_until_end(copier.port.member(copier.output, settings=COMMITTED))
    assert sorted(copies) == list(range(count))
    assert copier.committed() == count


def restart(server: Server) -> None:
    """Kill a broker and start it again."""
    server.kill()
    server.start()
