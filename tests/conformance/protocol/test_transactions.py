import pytest

from tests.support.kafka.port import eventually, unique
from tests.support.raw_clients.raw_client import RawClient, RawConsumer, RawProducer, write


def transactional(raw: RawClient, transactional_id: str = "", **settings: object) -> RawProducer:
    """Open a producer that has taken its transactional id over."""
    return raw.producer(
        transactional_id=transactional_id or unique("transactions"),
        enable_idempotence=True,
        **settings,
    )


def committed_reader(raw: RawClient, topic: str) -> RawConsumer:
    """Open a reader of committed records."""
    consumer = raw.consumer(isolation_level="read_committed")
    consumer.assign((topic, 0))
    return consumer


def read(consumer: RawConsumer, count: int) -> list[int]:
    """Return the numbers of so many records."""
    found: list[int] = []

    def step() -> bool:
        found.extend(int(record.value or b"") for record in consumer.poll())
        return len(found) >= count

    eventually(step)
    return found


@pytest.fixture
def topic(raw: RawClient) -> str:
    """Create a topic with one partition."""
    name = unique("topic")
    raw.create_topic(name, 1)
    return name


def test_committed_readers_see_what_was_committed(raw: RawClient, topic: str) -> None:
    """Aborted ranges are hidden, in front of, between and behind committed ones."""
    producer = transactional(raw)

    for first, commits in ((0, False), (10, True), (20, False), (30, True), (40, False)):
        producer.begin()
        write(producer, topic, range(first, first + 10))
        if commits:
            producer.commit()
        else:
            producer.abort()
    last = raw.producer()
    last.send(topic, 0, b"99")
    last.flush()

    assert read(committed_reader(raw, topic), 21) == [*range(10, 20), *range(30, 40), 99]


def test_an_open_transaction_is_held_back(raw: RawClient, topic: str) -> None:
    """Committed readers stop in front of it, whatever comes behind; others read on."""
    producer, plain = transactional(raw), raw.producer()
    producer.begin()
    write(producer, topic, range(5))
    write(plain, topic, range(5, 10))
    reader = committed_reader(raw, topic)
    hasty = raw.consumer()
    hasty.assign((topic, 0))

    assert read(hasty, 10) == list(range(10))
    assert [reader.poll() for _ in range(5)] == [[]] * 5
    producer.commit()

    assert read(reader, 10) == list(range(10))


@pytest.mark.parametrize("commits", [True, False], ids=["committed", "aborted"])
def test_offsets_in_a_transaction(raw: RawClient, topic: str, commits: bool) -> None:
    """The group's offsets move when the transaction is committed, and only then."""
    group_id = unique("group")
    producer = transactional(raw)

    producer.begin()
    write(producer, topic, range(10))
    producer.send_offsets({(topic, 0): 7}, group_id)
    if commits:
        producer.commit()
    else:
        producer.abort()

    offsets = {(topic, 0): 7} if commits else {}
    eventually(lambda: known(raw.group_offsets(group_id)) == offsets)


def known(offsets: dict[tuple[str, int], int]) -> dict[tuple[str, int], int]:
    """Leave out partitions for which nothing was committed."""
    return {partition: offset for partition, offset in offsets.items() if offset >= 0}


def test_a_zombie_producer_is_fenced(raw: RawClient, topic: str) -> None:
    """After a takeover the old producer cannot commit, and what it wrote is never seen."""
    transactional_id = unique("transactions")
    zombie = transactional(raw, transactional_id)
    zombie.begin()
    write(zombie, topic, range(5))

    successor = transactional(raw, transactional_id)
    successor.begin()
    write(successor, topic, range(5, 10))
    successor.commit()
    with pytest.raises(Exception, match=r"(?i)fenc|epoch"):
        zombie.commit()

    assert read(committed_reader(raw, topic), 5) == list(range(5, 10))


def test_a_crashed_transaction_times_out(raw: RawClient, client: str, topic: str) -> None:
    """A transaction that no one ends is aborted by the broker and holds no one up."""
    settings: dict[str, object] = {"transaction_timeout_ms": 2_000}
    if client == "confluent":
        settings["delivery_timeout_ms"] = 2_000  # librdkafka asks that it be no longer
    crashed = transactional(raw, "", **settings)
    crashed.begin()
    write(crashed, topic, range(5))
    write(raw.producer(), topic, range(5, 10))

    assert read(committed_reader(raw, topic), 5) == list(range(5, 10))
