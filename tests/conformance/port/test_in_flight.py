import threading

from tests.support.kafka.kafka_servers import Server, frozen
from tests.support.kafka.port import Deliveries, Port, numbered, numbers, send
from topicserve.backends.broker import Producer
from topicserve.backends.errors import (
    BackendUnavailableError,
    DeliveryTimeoutError,
)
from topicserve.wire.kafka_record import OutgoingRecord

SHORT = {"delivery.timeout.ms": 1_500, "request.timeout.ms": 1_000, "linger.ms": 0}


def a_warm_producer(port: Port, topic: str, **settings: object) -> Producer:
    """Open a producer that has met the topic."""
    producer = port.producer(SHORT | {name.replace("_", "."): v for name, v in settings.items()})
    assert send(producer, numbered(topic, 1)) == [None]
    return producer


def stays_out(producer: Producer, records: list[OutgoingRecord]) -> threading.Event:
    """Send on a thread of its own, see that it waits, and return what is set when it has sent."""
    sent = threading.Event()

    def send_aside() -> None:
        producer.send(records, lambda _: None)
        sent.set()

    threading.Thread(target=send_aside, daemon=True).start()
    assert not sent.wait(0.5)
    return sent


def test_records_in_flight_are_bounded(fragile_port: Port, fragile_server: Server) -> None:
    """With as many records in flight as allowed, one more waits until some are acknowledged."""
    topic = fragile_port.topic()
    producer = a_warm_producer(
        fragile_port, topic, topicserve_max_in_flight_records=100, delivery_timeout_ms=60_000
    )
    deliveries = Deliveries()

    with frozen(fragile_server):
        producer.send(numbered(topic, 60), deliveries.heard)
        producer.send(numbered(topic, 40), deliveries.heard)
        sent = stays_out(producer, numbered(topic, 1))

    assert sent.wait(30)
    assert deliveries.wait(lists=2) == [None] * 100


def test_bytes_in_flight_are_bounded(fragile_port: Port, fragile_server: Server) -> None:
    """With as many bytes in flight as allowed, one more record waits."""
    topic = fragile_port.topic()
    producer = a_warm_producer(
        fragile_port, topic, topicserve_max_in_flight_bytes=10_000, delivery_timeout_ms=60_000
    )
    deliveries = Deliveries()

    with frozen(fragile_server):
        producer.send([OutgoingRecord(topic, b"key", b"x" * 9_990)], deliveries.heard)
        sent = stays_out(producer, [OutgoingRecord(topic, b"key", b"x" * 9)])

    assert sent.wait(30)
    assert deliveries.wait() == [None]


def test_send_waits_for_room(fragile_port: Port) -> None:
    """A producer that is faster than the broker waits, and everything arrives."""
    topic = fragile_port.topic(partitions=1)
    producer = fragile_port.producer({"topicserve.max.in.flight.records": 50})
    deliveries = Deliveries()
    records = numbered(topic, 1_000)

    for start in range(0, 1_000, 20):
        producer.send(records[start : start + 20], deliveries.heard)

    assert deliveries.wait(lists=50) == [None] * 1_000
    assert numbers(fragile_port.member(topic).read(1_000)) == list(range(1_000))


def test_a_list_larger_than_the_bounds_goes_alone(fragile_port: Port) -> None:
    """A list that can never fit is sent when nothing else is in flight."""
    topic = fragile_port.topic()
    bounds = {"topicserve.max.in.flight.records": 10, "topicserve.max.in.flight.bytes": 100}

    assert send(fragile_port.producer(bounds), numbered(topic, 500)) == [None] * 500


def test_a_frozen_broker_ends_in_delivery_timeouts(
    fragile_port: Port, fragile_server: Server
) -> None:
    """Records that a silent broker does not acknowledge fail, each once, and others go later."""
    topic = fragile_port.topic()
    producer = a_warm_producer(fragile_port, topic)
    deliveries = Deliveries()

    with frozen(fragile_server):
        for _ in range(3):
            producer.send(numbered(topic, 200), deliveries.heard)
        errors = deliveries.wait(lists=3)

    assert {type(error) for error in errors} == {DeliveryTimeoutError}
    assert [len(errors) for errors in deliveries.lists] == [200] * 3
    assert send_until_written(producer, topic)
    assert len(deliveries.lists) == 3


def test_a_broker_that_is_gone_ends_in_delivery_timeouts(
    fragile_port: Port, fragile_server: Server
) -> None:
    """Records fail in time when no one listens, and are written again when someone does."""
    topic = fragile_port.topic()
    producer = a_warm_producer(fragile_port, topic)

    fragile_server.kill()
    try:
        errors = send(producer, numbered(topic, 100))
    finally:
        fragile_server.start()

    assert all(isinstance(error, BackendUnavailableError) for error in errors)
    fragile_port.admin().create_topic(topic, 4, 30)
    assert send_until_written(producer, topic)


def test_close_reports_what_is_left(fragile_port: Port, fragile_server: Server) -> None:
    """Closing with records in flight fails them instead of forgetting them."""
    topic = fragile_port.topic()
    producer = a_warm_producer(fragile_port, topic, delivery_timeout_ms=60_000)
    deliveries = Deliveries()

    with frozen(fragile_server):
        producer.send(numbered(topic, 10), deliveries.heard)
        producer.close(0.5)

    errors = deliveries.wait()
    assert len(errors) == 10
    assert all(isinstance(error, BackendUnavailableError) for error in errors)


def test_flush_says_whether_all_was_written(fragile_port: Port, fragile_server: Server) -> None:
    """Flush is false while a broker keeps silent, and true when it has answered."""
    topic = fragile_port.topic()
    producer = a_warm_producer(fragile_port, topic, delivery_timeout_ms=60_000)
    deliveries = Deliveries()

    with frozen(fragile_server):
        producer.send(numbered(topic, 10), deliveries.heard)
        flushed = producer.flush(0.3)

    assert not flushed
    assert producer.flush(30)
    assert deliveries.wait() == [None] * 10


def test_many_threads_may_send(port: Port) -> None:
    """Lists from several threads arrive whole, each in its order."""
    topic = port.topic(partitions=1)
    producer, deliveries = port.producer(), Deliveries()
    records = numbered(topic, 4_000)

    def send_from(first: int) -> None:
        for start in range(first, first + 1_000, 50):
            producer.send(records[start : start + 50], deliveries.heard)

    threads = [threading.Thread(target=send_from, args=[n]) for n in range(0, 4_000, 1_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert deliveries.wait(lists=80) == [None] * 4_000
    read = numbers(port.member(topic).read(4_000))
    assert sorted(read) == list(range(4_000))
    for first in range(0, 4_000, 1_000):
        mine = [number for number in read if first <= number < first + 1_000]
        assert mine == sorted(mine)


def send_until_written(producer: Producer, topic: str, tries: int = 40) -> bool:
    """Send one record again and again, as the worker does, until it is acknowledged."""
    for _ in range(tries):
        try:
            if send(producer, numbered(topic, 1)) == [None]:
                return True
        except BackendUnavailableError:
            continue
    return False
