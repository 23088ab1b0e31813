import pytest

from tests.support.kafka.kafka_servers import Server
from tests.support.kafka.port import Deliveries, Port, numbered, numbers, send, unique
from topicserve.backends.broker import Places
from topicserve.backends.errors import RecordTooLargeError, UnknownTopicError
from topicserve.backends.kafka_clients import open_broker
from topicserve.backends.kafka_python.murmur2 import partitions_of
from topicserve.wire.kafka_record import OutgoingRecord


def test_order_is_kept_per_partition(port: Port) -> None:
    """Records of one partition are read in the order in which they were sent."""
    topic = port.topic(partitions=1)
    producer, deliveries = port.producer(), Deliveries()
    records = numbered(topic, 3_000)

    for start in range(0, 3_000, 100):
        producer.send(records[start : start + 100], deliveries.heard)

    assert deliveries.wait(lists=30) == [None] * 3_000
    read = port.member(topic).read(3_000)
    assert numbers(read) == list(range(3_000))
    assert [record.offset for record in read] == list(range(3_000))


def test_every_list_is_reported_once_on_one_thread(port: Port) -> None:
    """Each `send` gets one report, of as many records, never from inside `send`."""
    topic = port.topic()
    producer, deliveries = port.producer(), Deliveries()
    sizes = [1, 0, 500, 3, 1_200]

    for size in sizes:
        producer.send(numbered(topic, size), deliveries.heard)

    assert producer.flush(30)
    assert sorted(len(errors) for errors in deliveries.lists) == sorted(sizes)
    assert len(deliveries.threads) == 1
    assert "MainThread" not in deliveries.threads


def test_places_are_told_where_they_are_asked_for(port: Port) -> None:
    """Each written record's partition and offset; a refused one has none, and harms no other."""
    topic = port.topic(partitions=2)
    producer, deliveries = port.producer({"topicserve.delivery.places": True}), Deliveries()
    large = OutgoingRecord(topic, b"large", b"x" * 3_000_000)
    records = [*numbered(topic, 40), large]
    places: Places = [None] * len(records)

    producer.send(records, deliveries.heard, places=places)

    errors = deliveries.wait()
    assert [error is None for error in errors] == [place is not None for place in places]
    assert isinstance(errors[-1], RecordTooLargeError)
    read = port.member(topic).read(40)
    found = {(r.topic, r.partition, r.offset): r.value for r in read}
    assert [found[place] for place in places if place] == [r.value for r in records[:-1]]


def test_what_is_sent_is_what_is_read(port: Port) -> None:
    """Keys, values, headers (twice the same name, too) and timestamps arrive as they were."""
    topic = port.topic(partitions=1)
    headers = [("a", b"1"), ("a", b"2"), ("empty", b""), ("ünïcode", "ß".encode())]
    records = [
        OutgoingRecord(topic, b"key", b"value", headers, timestamp_ms=1_700_000_000_123),
        OutgoingRecord(topic, None, b"no key"),
        OutgoingRecord(topic, b"no value", None),
        OutgoingRecord(topic, b"", b""),
    ]

    assert send(port.producer(), records) == [None] * 4

    read = port.member(topic).read(4)
    assert [(r.key, r.value, list(r.headers)) for r in read] == [
        (r.key, r.value, list(r.headers)) for r in records
    ]
    assert read[0].timestamp_ms == 1_700_000_000_123
    assert (read[0].topic, read[0].partition, read[0].offset) == (topic, 0, 0)


def test_a_key_goes_to_kafkas_partition(port: Port) -> None:
    """The partition of a key is the one that Kafka's default partitioner gives it."""
    topic = port.topic(partitions=7)
    keys = [bytes(range(length)) * 2 for length in range(1, 40)] + [b"", b"\xff\x00\xfe"]

    send(port.producer(), [OutgoingRecord(topic, key, b"x") for key in keys])

    read = port.member(topic).read(len(keys))
    found = {record.key: record.partition for record in read}
    assert found == dict(zip(keys, partitions_of(keys, 7), strict=True))


def test_a_given_partition_wins_over_the_key(port: Port) -> None:
    """A record that names its partition goes there."""
    topic = port.topic()

    send(port.producer(), numbered(topic, 10, partition=3))

    assert {record.partition for record in port.member(topic).read(10)} == {3}


def test_a_too_large_record_fails_alone(port: Port) -> None:
    """One record that the broker will never take does not take its list along."""
    topic = port.topic(partitions=1)
    records = numbered(topic, 5)
    records[2] = OutgoingRecord(topic, b"key", b"x" * 3_000_000)

    errors = send(port.producer({"linger.ms": 0, "batch.size": 1}), records)

    assert isinstance(errors[2], RecordTooLargeError)
    assert [error for index, error in enumerate(errors) if index != 2] == [None] * 4
    assert numbers(port.member(topic).read(4)) == [0, 1, 3, 4]


def test_a_large_record_passes(port: Port) -> None:
    """A record just under the broker's limit of 1 MiB is written and read."""
    topic = port.topic()
    value = bytes(range(250)) * 4_000

    assert send(port.producer(), [OutgoingRecord(topic, b"key", value)]) == [None]

    assert port.member(topic).read(1)[0].value == value


def test_a_topic_that_does_not_exist_is_refused(fragile_port: Port) -> None:
    """Sending to a topic that the broker does not create raises, and nothing was sent."""
    producer = fragile_port.producer()
    deliveries = Deliveries()

    with pytest.raises(UnknownTopicError, match="does not exist"):
        producer.send(numbered(unique("missing"), 3), deliveries.heard)

    assert deliveries.lists == []


def test_another_clients_records_are_read(port: Port, server: Server, client: str) -> None:
    """What the other client wrote, this one reads, also where it chose no partition."""
    other = {"kafka-python": "confluent", "confluent": "kafka-python"}[client]
    topic = port.topic()
    writer = Port(open_broker(other, {"bootstrap.servers": server.bootstrap_servers}))

    send(writer.producer(), [OutgoingRecord(topic, None, b"%d" % n) for n in range(100)])

    assert sorted(numbers(port.member(topic).read(100))) == list(range(100))
    writer.close()
