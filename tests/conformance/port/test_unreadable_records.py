import kafka
import pytest
from kafka.record import default_records

from tests.support.kafka.kafka_servers import Server
from tests.support.kafka.port import Port, send
from topicserve.wire.kafka_record import KafkaRecord, OutgoingRecord, UnreadableHeaders


class NotUtf8(str):
    """A header name that kafka-python's producer writes as bytes that are not UTF-8."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:  # noqa: ARG002
        return b"\xff\xfe"


def produce_by_hand(server: Server, topic: str) -> None:
    """Write good, bad, good, bad, bad, good, in one batch."""
    producer = kafka.KafkaProducer(bootstrap_servers=server.bootstrap_servers, linger_ms=200)
    for number, is_good in enumerate((True, False, True, False, False, True)):
        headers = [("good", b"1"), *([] if is_good else [(NotUtf8("bad"), b"v")])]
        producer.send(topic, b"%d" % number, b"key", headers, 0)
    producer.flush(30)
    producer.close()


@pytest.mark.parametrize("max_records", [1, 500])
def test_a_header_name_that_is_no_utf8_spoils_no_other_record(
    port: Port, server: Server, max_records: int
) -> None:
    """Its record is returned in its place, marked as unreadable, with its key and value."""
    topic = port.topic(partitions=1)
    produce_by_hand(server, topic)
    member = port.member(topic)

    member.poll_until(lambda: member.poll(max_records) is not None and len(member.records) >= 6)

    assert [(r.offset, r.key, r.value) for r in member.records] == [
        (n, b"key", b"%d" % n) for n in range(6)
    ]
    assert [n for n, record in enumerate(member.records) if is_unreadable(record)] == [1, 3, 4]
    assert [list(member.records[n].headers) for n in (0, 2, 5)] == [[("good", b"1")]] * 3


@pytest.mark.parametrize("place", [0, 1, 4, 8])
def test_such_a_name_spoils_none_of_many_records(port: Port, server: Server, place: int) -> None:
    """Wherever it stands: Python checks less of what is called again and again, from the client."""
    topic = port.topic(partitions=1)
    producer = kafka.KafkaProducer(bootstrap_servers=server.bootstrap_servers, linger_ms=200)
    good = [(f"header {number}", b"%d" % number) for number in range(8)]
    bad = [*good[:place], (NotUtf8("bad"), b"v"), *good[place:]]
    for number in range(600):
        producer.send(topic, b"%d" % number, b"key", good if number % 150 else bad, 0)
    producer.flush(30)
    producer.close()

    records = port.member(topic).read(600)

    assert [int(record.value or b"") for record in records] == list(range(600))
    assert [n for n, record in enumerate(records) if is_unreadable(record)] == [0, 150, 300, 450]
    assert all(list(record.headers) == good for n, record in enumerate(records) if n % 150)


def test_headers_are_kept_as_far_as_they_can_be_read(
    port: Port, server: Server, client: str
) -> None:
    """kafka-python escapes the name; confluent-kafka gives none of the record's headers."""
    topic = port.topic(partitions=1)
    produce_by_hand(server, topic)

    headers = port.member(topic).read(6)[1].headers

    assert isinstance(headers, UnreadableHeaders)
    assert list(headers) == []
    assert (
        list(headers.kept)
        == {
            "kafka-python": [
                ("good", b"1"),
                ("\\xff\\xfe", b"v"),
                ("topicserve-truncated", b"header-names=1"),
            ],
            "confluent": [("topicserve-truncated", b"headers=unreadable")],
        }[client]
    )


@pytest.mark.parametrize("broker_name", ["embedded"], indirect=True)
@pytest.mark.parametrize("count", [1, 7])
def test_a_batch_that_cannot_be_decoded_is_passed_over(
    port: Port, server: Server, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one unreadable record at its last offset; what is before and behind it is read.

    Apache Kafka refuses to take such a batch.
    """
    topic = port.topic(partitions=1)
    send(port.producer(), [OutgoingRecord(topic, None, b"before")])
    with monkeypatch.context() as patch:
        patch.setattr(default_records, "gzip_encode", lambda _: b"not gzip")
        producer = kafka.KafkaProducer(
            bootstrap_servers=server.bootstrap_servers, linger_ms=200, compression_type="gzip"
        )
        for _ in range(count):
            producer.send(topic, b"v" * 100)
        producer.flush(30)
        producer.close()
    send(port.producer(), [OutgoingRecord(topic, None, b"behind")] * 3)

    records = port.member(topic).read(5)

    assert [(r.offset, r.value) for r in records] == [
        (0, b"before"),
        (count, None),
        *((count + n, b"behind") for n in (1, 2, 3)),
    ]
    headers = records[1].headers
    assert isinstance(headers, UnreadableHeaders)
    assert headers.first_offset == 1
    assert f"offsets 1 to {count} of {topic}-0 cannot be read" in headers.problem


def is_unreadable(record: KafkaRecord) -> bool:
    """Return whether the client could not read a record."""
    return isinstance(record.headers, UnreadableHeaders)
