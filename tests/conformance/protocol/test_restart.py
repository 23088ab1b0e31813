from tests.conformance.protocol.conftest import OpenClient
from tests.support.kafka.kafka_servers import Server
from tests.support.kafka.port import eventually, unique
from tests.support.raw_clients.raw_client import RawClient, write


def test_the_log_survives_a_restart(durable_server: Server, open_client: OpenClient) -> None:
    """After SIGKILL records and offsets are there, and an open transaction is aborted."""
    topic, group_id = unique("topic"), unique("group")
    before = open_client(durable_server.bootstrap_servers)
    before.create_topic(topic, 1)
    write(before.producer(), topic, range(100))
    producer = before.producer(transactional_id=unique("transactions"), enable_idempotence=True)
    producer.begin()
    write(producer, topic, range(100, 110))
    producer.send_offsets({(topic, 0): 42}, group_id)
    producer.commit()
    # Apache Kafka 4.3.1 may forget a commit that it was killed right behind: docs/conformance.md.
    assert read_committed(before, topic, 110) == [*range(110)]
    eventually(lambda: before.group_offsets(group_id) == {(topic, 0): 42})
    crashed = before.producer(
        transactional_id=unique("transactions"),
        enable_idempotence=True,
        # When Apache Kafka aborts it, restarted or not: not while it is still coming up.
        transaction_timeout_ms=10_000,
    )
    crashed.begin()
    write(crashed, topic, range(110, 120))
    crashed.send_offsets({(topic, 0): 99}, group_id)

    durable_server.kill()
    durable_server.start()

    after = open_client(durable_server.bootstrap_servers)
    write(after.producer(), topic, range(120, 130))
    assert read_committed(after, topic, 120) == [*range(110), *range(120, 130)]
    assert after.group_offsets(group_id) == {(topic, 0): 42}


def read_committed(client: RawClient, topic: str, count: int) -> list[int]:
    """Return the numbers of the first partition, once so many of them are committed."""
    reader = client.consumer(isolation_level="read_committed")
    reader.assign((topic, 0))
    numbers: list[int] = []

    def read() -> bool:
        numbers.extend(int(record.value or b"") for record in reader.poll())
        return len(numbers) >= count

    eventually(read, 60)
    reader.close()
    return numbers
