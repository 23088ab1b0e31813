from typing import Any

import pytest

from tests.support.kafka.port import Deliveries, Port, eventually, send, unique
from topicserve.backends.broker import Producer
from topicserve.backends.errors import (
    BackendUnavailableError,
    RecordRefusedError,
    RecordTooLargeError,
    TransactionAbortedError,
)
from topicserve.wire.kafka_record import KafkaRecord, OutgoingRecord

LIMIT = 30.0
REPEATS = 40
NO_KEY_OR_VALUE = OutgoingRecord("", None, None, [("null", None), ("empty", b"")])


def transactional(port: Port, **settings: object) -> Producer:
    """Open a producer that has its transactional id."""
    producer = port.producer({"transactional.id": unique("transactions"), **settings})
    producer.init_transactions(LIMIT)
    return producer


def test_a_transaction_never_commits_without_a_record_that_the_client_refuses(port: Port) -> None:
    """Whenever the delivery thread comes to report it: 40 of 40 times."""
    topic, producer = port.topic(partitions=1), transactional(port)
    records = [
        OutgoingRecord(topic, b"small", b"x"),
        OutgoingRecord(topic, b"large", b"x" * 2_000_000),
    ]

    for _ in range(REPEATS):
        producer.begin_transaction()
        producer.send(records, Deliveries().heard)
        with pytest.raises(TransactionAbortedError):
            producer.commit_transaction(LIMIT)
        producer.abort_transaction(LIMIT)


def test_offsets_are_not_sent_before_all_records_are_written(port: Port) -> None:
    """A record that the broker refuses, by the topic's limit, is known by then."""
    topic = unique("topic")
    assert port.admin().create_topic(topic, 1, LIMIT, {"max.message.bytes": "2000"})
    producer = transactional(port, **{"batch.size": 1, "linger.ms": 0})
    member = port.member(port.topic(partitions=1))
    member.poll_until(lambda: member.assigned)
    metadata, deliveries = member.consumer.group_metadata(), Deliveries()
    small, large = OutgoingRecord(topic, None, b"x"), OutgoingRecord(topic, None, b"x" * 3000)

    producer.begin_transaction()
    producer.send([small, small, large], deliveries.heard)
    with pytest.raises(TransactionAbortedError):
        producer.send_offsets_to_transaction(dict.fromkeys(member.assigned, 0), metadata, LIMIT)
    eventually(lambda: _aborts(producer))
    errors = deliveries.wait()

    assert [isinstance(error, RecordTooLargeError) for error in errors] == [False, False, True]
    eventually(lambda: _commits(producer, small))


def test_a_record_that_the_broker_refuses_is_refused_alone(port: Port) -> None:
    """What is sent with it is written, or may be sent again: it is not taken for refused."""
    topic = unique("topic")
    assert port.admin().create_topic(topic, 1, LIMIT, {"max.message.bytes": "2000"})
    small, large = OutgoingRecord(topic, None, b"x"), OutgoingRecord(topic, None, b"x" * 3000)
    producer = port.producer({"batch.size": 1, "linger.ms": 0})

    errors = send(producer, [small, large, *[small] * 50])

    assert [i for i, error in enumerate(errors) if isinstance(error, RecordRefusedError)] == [1]
    others = [error for i, error in enumerate(errors) if i != 1]
    assert all(error is None or isinstance(error, BackendUnavailableError) for error in others)
    eventually(lambda: send(producer, [small]) == [None])


@pytest.mark.parametrize("in_transaction", [False, True])
def test_many_small_records_are_written_to_a_topic_with_a_small_limit(
    port: Port, in_transaction: bool
) -> None:
    """Whatever the batches that the client makes of them: none is refused for its neighbours."""
    topic = unique("topic")
    assert port.admin().create_topic(topic, 1, LIMIT, {"max.message.bytes": "20000"})
    producer = transactional(port) if in_transaction else port.producer()
    left = [OutgoingRecord(topic, None, b"%3d" % n * 100) for n in range(600)]
    fine = {n.value for n in left}
    large = OutgoingRecord(topic, None, b"x" * 30_000)
    left.append(large)

    def go_on() -> bool:
        if in_transaction:
            producer.begin_transaction()
        errors = send(producer, left)
        again = [one for one, error in zip(left, errors, strict=True) if error is not None]
        refused = {
            one.value
            for one, error in zip(left, errors, strict=True)
            if isinstance(error, RecordRefusedError)
        }
        assert refused <= {large.value}
        if in_transaction and not again:
            producer.commit_transaction(LIMIT)
        elif in_transaction:
            eventually(lambda: _aborts(producer))
            again = list(left)
        left[:] = [one for one in again if one.value not in refused]
        return not left

    eventually(go_on)

    assert {record.value for record in port.member(topic).read(600)} == fine


def test_a_topic_tells_its_limit(port: Port) -> None:
    """Its own, and the broker's where it has none; dead-letter topics are made to match."""
    admin, topic = port.admin(), unique("topic")
    assert admin.create_topic(topic, 1, LIMIT, {"max.message.bytes": "2000"})

    assert admin.topic_config(topic, "max.message.bytes", LIMIT) == "2000"
    assert admin.topic_config(port.topic(), "max.message.bytes", LIMIT) == "1048588"
    assert admin.topic_config(topic, "no.such.setting", LIMIT) is None


def test_a_record_that_cannot_be_sent_is_refused_alone(port: Port) -> None:
    """Whatever the client library raises for it, `send` does not, and the others are written."""
    topic = port.topic(partitions=1)
    good = OutgoingRecord(topic, b"key", b"good")
    wrong = OutgoingRecord(topic, None, b"", [("name", 1)])  # type: ignore[list-item]

    errors = send(port.producer(), [good, wrong, good])

    assert isinstance(errors[1], RecordRefusedError)
    assert [errors[0], errors[2]] == [None, None]


@pytest.mark.parametrize("in_transaction", [False, True])
def test_nulls_stay_null(port: Port, in_transaction: bool) -> None:
    """A tombstone, a record with neither key nor value, and headers without a value."""
    topic = port.topic(partitions=1)
    producer = transactional(port) if in_transaction else port.producer()
    records = [
        OutgoingRecord(topic, b"key", None),
        _to(topic, NO_KEY_OR_VALUE),
        OutgoingRecord(topic, b"", b"", [("name", b"value")]),
    ]

    if in_transaction:
        producer.begin_transaction()
    assert send(producer, records) == [None] * 3
    if in_transaction:
        producer.commit_transaction(LIMIT)

    assert [_content(record) for record in port.member(topic).read(3)] == [
        (record.key, record.value, list(record.headers)) for record in records
    ]


def _commits(producer: Producer, record: OutgoingRecord) -> bool:
    """Send a record in a transaction; kafka-python may need another to begin a new epoch."""
    producer.begin_transaction()
    if send(producer, [record]) == [None]:
        producer.commit_transaction(LIMIT)
        return True
    eventually(lambda: _aborts(producer))
    return False


def _aborts(producer: Producer) -> bool:
    try:
        producer.abort_transaction(LIMIT)
    except BackendUnavailableError:
        return False
    return True


def _to(topic: str, record: OutgoingRecord) -> OutgoingRecord:
    return OutgoingRecord(
        topic, record.key, record.value, record.headers, record.partition, record.timestamp_ms
    )


def _content(record: KafkaRecord) -> tuple[Any, ...]:
    return record.key, record.value, list(record.headers)
