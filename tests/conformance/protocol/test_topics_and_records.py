import itertools
from typing import Any

import pytest
from confluent_kafka import Producer

from tests.conformance.protocol.conftest import OpenClient
from tests.support.kafka.kafka_servers import Server, frozen
from tests.support.kafka.port import eventually, unique
from tests.support.raw_clients.raw_client import RawClient, RawConsumer, RawProducer, RawRecord

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


def read(consumer: RawConsumer, count: int, limit_seconds: float = 60) -> list[RawRecord]:
    """Poll until there are so many records."""
    records: list[RawRecord] = []

    def step() -> bool:
        records.extend(consumer.poll())
        return len(records) >= count

    eventually(step, limit_seconds)
    return records


def test_a_client_connects_with_its_default_settings(raw: RawClient) -> None:
    """An address is enough: versions are agreed upon, with the newest ApiVersions first."""
    topic = unique("topic")
    raw.create_topic(topic, 1)

    producer, consumer = raw.producer(), raw.consumer()
    producer.send(topic, 0, b"value")
    producer.flush()
    consumer.assign((topic, 0))

    assert [record.value for record in read(consumer, 1)] == [b"value"]


def test_topics_are_created_grown_and_deleted(raw: RawClient) -> None:
    """A topic has as many partitions as asked for, takes more, and is gone when deleted."""
    topic = unique("topic")

    raw.create_topic(topic, 3)
    eventually(lambda: topic in raw.topics())
    raw.create_partitions(topic, 5)
    eventually(lambda: a_new_producer_writes(raw, topic, 4))
    consumer = raw.consumer()
    consumer.assign((topic, 4))
    assert read(consumer, 1)
    # While any client asks for the topic it is created again.
    consumer.close()
    raw.delete_topic(topic)

    eventually(lambda: topic not in raw.topics())


def a_new_producer_writes(raw: RawClient, topic: str, partition: int) -> bool:
    """Write one record: a producer that saw the topic before it grew may not ask for minutes."""
    producer = raw.producer()
    try:
        return writes(producer, topic, partition)
    finally:
        producer.close()


def writes(producer: RawProducer, topic: str, partition: int) -> bool:
    """Write one record; False while the producer has not heard of the partition."""
    try:
        producer.send(topic, partition, b"x")
        producer.flush()
    except Exception:
        return False
    return True


def test_topics_are_created_by_writing(raw: RawClient) -> None:
    """Where the broker allows it, the first record makes its topic."""
    topic = unique("topic")
    producer = raw.producer()

    eventually(lambda: writes(producer, topic, 0))

    assert topic in raw.topics()


@pytest.mark.parametrize("codec", CODECS)
def test_records_arrive_as_they_were(raw: RawClient, codec: str) -> None:
    """Headers, timestamps, null and empty keys and values pass with every codec."""
    topic = unique("topic")
    raw.create_topic(topic, 1)
    producer = raw.producer(compression_type=codec)
    headers = [("a", b"1"), ("a", b"2"), ("empty", b"")]

    producer.send(topic, 0, b"value", b"key", headers, 1_700_000_000_123)
    producer.send(topic, 0, None, b"tombstone")
    producer.send(topic, 0, b"no key", None)
    producer.send(topic, 0, b"", b"")
    producer.flush()

    consumer = raw.consumer()
    consumer.assign((topic, 0))
    records = read(consumer, 4)
    assert [(r.key, r.value) for r in records] == [
        (b"key", b"value"),
        (b"tombstone", None),
        (None, b"no key"),
        (b"", b""),
    ]
    assert records[0].headers == headers
    assert records[0].timestamp_ms == 1_700_000_000_123
    assert [r.offset for r in records] == [0, 1, 2, 3]


@pytest.mark.parametrize("acks", [0, 1, "all"])
def test_every_kind_of_acknowledgement(raw: RawClient, acks: object) -> None:
    """With acks 0, 1 and all records are written, in order."""
    topic = unique("topic")
    raw.create_topic(topic, 1)
    producer = raw.producer(acks=acks, enable_idempotence=False)

    for number in range(50):
        producer.send(topic, 0, b"%d" % number)
    producer.flush()

    consumer = raw.consumer()
    consumer.assign((topic, 0))
    assert [int(r.value or b"") for r in read(consumer, 50)] == list(range(50))


def test_an_idempotent_producer_writes_once(raw: RawClient) -> None:
    """Sequence numbers are accepted in order over many batches and two producers."""
    topic = unique("topic")
    raw.create_topic(topic, 2)
    producers = [raw.producer(enable_idempotence=True) for _ in range(2)]

    for number, producer in itertools.product(range(500), producers):
        producer.send(topic, number % 2, b"%d" % number)
    for producer in producers:
        producer.flush()

    consumer = raw.consumer()
    consumer.assign((topic, 0), (topic, 1))
    found = sorted(int(r.value or b"") for r in read(consumer, 1_000))
    assert found == sorted([*range(500)] * 2)


def test_offsets_are_found_by_place_and_time(raw: RawClient) -> None:
    """Beginning, end and the first record at or after a time."""
    topic = unique("topic")
    raw.create_topic(topic, 1)
    producer, consumer = raw.producer(), raw.consumer()
    for number in range(10):
        producer.send(topic, 0, b"x", timestamp_ms=1_700_000_000_000 + number * 1_000)
        producer.flush()
    consumer.assign((topic, 0))

    assert consumer.offsets((topic, 0)) == (0, 10)
    assert consumer.offset_for_time((topic, 0), 1_700_000_000_000) == 0
    assert consumer.offset_for_time((topic, 0), 1_700_000_003_500) == 4
    assert consumer.offset_for_time((topic, 0), 1_700_000_009_000) == 9
    assert consumer.offset_for_time((topic, 0), 1_700_000_009_001) is None


@pytest.mark.parametrize(("reset", "first"), [("earliest", 0), ("latest", 10)])
def test_an_offset_out_of_range_is_reset(raw: RawClient, reset: str, first: int) -> None:
    """A seek past the end goes where auto.offset.reset says."""
    topic = unique("topic")
    raw.create_topic(topic, 1)
    producer, consumer = raw.producer(), raw.consumer(auto_offset_reset=reset)
    for _ in range(10):
        producer.send(topic, 0, b"x")
    producer.flush()
    consumer.assign((topic, 0))
    consumer.seek((topic, 0), 5_000)
    records: list[RawRecord] = []

    def step() -> bool:
        if first == 10:
            producer.send(topic, 0, b"new")
            producer.flush()
        records.extend(consumer.poll())
        return bool(records)

    eventually(step)

    assert records[0].offset >= first
    assert (records[0].offset == 0) == (reset == "earliest")


def test_a_waiting_fetch_is_woken_by_a_record(raw: RawClient, client: str) -> None:
    """A consumer that waits for long gets a record when it comes, not when its wait ends."""
    topic = unique("topic")
    raw.create_topic(topic, 1)
    name = "fetch_wait_max_ms" if client == "confluent" else "fetch_max_wait_ms"
    consumer = raw.consumer(None, **{name: 25_000})
    producer = raw.producer()
    consumer.assign((topic, 0))
    consumer.poll()

    for number in range(3):
        producer.send(topic, 0, b"%d" % number)
        producer.flush()
        # Half of what a fetch would wait.
        assert [r.value for r in read(consumer, 1, 12)] == [b"%d" % number]


def test_a_large_partition_is_read_whole(raw: RawClient, server: Server) -> None:
    """120,000 records of 1 KiB in one partition: each once, in order, in bounded fetches."""
    topic = unique("topic")
    raw.create_topic(topic, 1)
    _fill(server.bootstrap_servers, topic)
    consumer = raw.consumer(max_partition_fetch_bytes=256 * 1024)
    consumer.assign((topic, 0))

    offsets = [record.offset for record in read(consumer, 120_000)]

    assert offsets == list(range(120_000))


def _fill(bootstrap_servers: str, topic: str) -> None:
    """Write them with the fastest of the clients: this is about reading."""
    producer: Any = Producer({"bootstrap.servers": bootstrap_servers, "linger.ms": 20})
    for number in range(120_000):
        producer.produce(topic, b"x" * 1024, partition=0)
        if number % 20_000 == 0:
            producer.flush(30)
    assert producer.flush(60) == 0


def test_a_broker_that_stalls_loses_nothing(
    open_client: OpenClient, fragile_server: Server
) -> None:
    """What was on its way when the broker stood still is written when it goes on, once."""
    raw = open_client(fragile_server.bootstrap_servers)
    topic = unique("topic")
    raw.create_topic(topic, 1)
    producer = raw.producer(enable_idempotence=True)
    producer.send(topic, 0, b"0")
    producer.flush()

    with frozen(fragile_server):
        for number in range(1, 20):
            producer.send(topic, 0, b"%d" % number)
    producer.flush()

    consumer = raw.consumer()
    consumer.assign((topic, 0))
    assert [int(r.value or b"") for r in read(consumer, 20)] == list(range(20))
