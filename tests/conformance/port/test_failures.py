import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

import pytest

from tests.conformance.port.conftest import OpenPort
from tests.support.kafka.apache_kafka import ApacheKafka
from tests.support.kafka.kafka_servers import Server, frozen
from tests.support.kafka.port import Port, eventually, numbered, numbers, send, unique
from topicserve.backends.errors import (
    AuthenticationError,
    BackendConfigError,
    BackendUnavailableError,
    UnknownTopicError,
)
from topicserve.backends.kafka_clients import open_broker
from topicserve.wire.kafka_record import TopicPartition


@pytest.fixture
def nobody() -> Iterator[str]:
    """Give an address that refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture(scope="module")
def secure_server() -> Iterator[ApacheKafka]:
    """Start Apache Kafka with SASL_SSL and ACLs."""
    with ApacheKafka(secure=True) as server:
        yield server


def test_polling_a_broker_that_is_away_is_no_error(open_port: OpenPort, nobody: str) -> None:
    """Polls come back empty while no one listens."""
    member = open_port(nobody).member("topic")

    assert [member.consumer.poll(0.2, 10) for _ in range(3)] == [[], [], []]
    assert member.consumer.stats().assigned == frozenset()


def test_questions_to_a_broker_that_is_away_fail_in_time(open_port: OpenPort, nobody: str) -> None:
    """Admin, producer and commits raise BackendUnavailableError."""
    port = open_port(nobody)
    admin, producer = port.admin(), port.producer()

    with pytest.raises(BackendUnavailableError):
        admin.partitions("topic", 1)
    with pytest.raises(BackendUnavailableError):
        producer.send(numbered("topic", 1), lambda _: None)
    with pytest.raises(BackendUnavailableError):
        port.producer({"transactional.id": "x"}).init_transactions(1)


def test_a_restarted_broker_is_found_again(fragile_port: Port, fragile_server: Server) -> None:
    """A consumer that was reading goes on by itself when the broker is back."""
    topic = fragile_port.topic()
    member = fragile_port.member(topic)
    send(fragile_port.producer(), numbered(topic, 10))
    member.read(10)
    # A broker that takes longer to come back than the member's session ends its membership.
    member.consumer.commit(member.next_offsets(), 10)

    fragile_server.kill()
    assert member.poll() == []
    fragile_server.start()
    fragile_port.admin().create_topic(topic, 4, 30)
    again = fragile_port.producer()
    eventually(lambda: sends(again, topic))
    member.poll_until(lambda: len(member.records) > 10)

    assert numbers(member.records[10:]) == [0]


def sends(producer: object, topic: str) -> bool:
    """Send one record; False where the broker is not there yet."""
    try:
        return send(producer, numbered(topic, 1)) == [None]  # type: ignore[arg-type]
    except (BackendUnavailableError, UnknownTopicError):
        return False


def test_a_commit_that_nobody_answers_is_bounded(
    fragile_port: Port, fragile_server: Server
) -> None:
    """A commit on a silent broker raises in time, and the next one succeeds."""
    topic = fragile_port.topic(partitions=1)
    send(fragile_port.producer(), numbered(topic, 10))
    member = fragile_port.member(topic)
    member.read(10)
    partition = TopicPartition(topic, 0)

    with frozen(fragile_server), pytest.raises(BackendUnavailableError):
        member.consumer.commit({partition: 4}, 0.5)
    member.consumer.commit({partition: 8}, 30)

    assert member.consumer.committed([partition], 30) == {partition: 8}


def test_a_topic_that_is_not_there_is_told(fragile_port: Port) -> None:
    """Subscribing to a topic that no one creates raises UnknownTopicError out of `poll`."""
    member = fragile_port.member(unique("missing"))

    with pytest.raises(UnknownTopicError):
        eventually(lambda: member.poll() and False)


def test_admin_creates_counts_and_deletes(port: Port) -> None:
    """Admin tells what there is, and whether anything had to be done."""
    admin, topic = port.admin(), unique("topic")

    assert admin.partitions(topic, 30) is None
    assert admin.create_topic(topic, 3, 30, {"retention.ms": "60000"})
    assert not admin.create_topic(topic, 3, 30)
    eventually(lambda: admin.partitions(topic, 30) == 3)
    send(port.producer(), numbered(topic, 5, partition=2))
    ends = admin.end_offsets(topic, 30)
    assert ends == {TopicPartition(topic, n): 5 if n == 2 else 0 for n in range(3)}
    assert admin.delete_topic(topic, 30)
    eventually(lambda: admin.partitions(topic, 30) is None)
    assert not admin.delete_topic(topic, 30)
    with pytest.raises(UnknownTopicError):
        admin.end_offsets(topic, 30)


@pytest.mark.parametrize(
    ("role", "settings", "named"),
    [
        ("consumer", {"no.such.setting": 1}, "no.such.setting"),
        ("consumer", {"enable.auto.commit": True}, "enable.auto.commit"),
        ("consumer", {"partition.assignment.strategy": "mine"}, "partition.assignment.strategy"),
        ("consumer", {"session.timeout.ms": "soon"}, "session.timeout.ms"),
        ("producer", {"acks": "some"}, "acks"),
        ("producer", {"topicserve.max.in.flight.records": 0}, "topicserve.max.in.flight.records"),
        ("producer", {"delivery.timeout.ms": "x"}, "delivery.timeout.ms"),
    ],
)
def test_a_wrong_setting_is_named(
    client: str, role: str, settings: Mapping[str, object], named: str
) -> None:
    """A setting that cannot be is refused before anything connects, by name."""
    broker = open_broker(client, {"bootstrap.servers": "127.0.0.1:1"})

    openers: dict[str, Callable[[], object]] = {
        "consumer": lambda: broker.consumer("group", settings),
        "producer": lambda: broker.producer(settings),
    }

    with pytest.raises(BackendConfigError, match=named):
        openers[role]()


LogIn = Callable[..., Port]


@pytest.fixture
def log_in(secure_server: ApacheKafka, client: str) -> Iterator[LogIn]:
    """Open ports that log in as a user, with other settings where a test gives them."""
    with ExitStack() as opened:

        def as_user(user: str, password: str | None = None, **changes: str | None) -> Port:
            settings: dict[str, object] = {"bootstrap.servers": secure_server.bootstrap_servers}
            settings |= secure_server.credentials(user, password)
            settings |= {name.replace("_", "."): value for name, value in changes.items()}
            kept = {name: value for name, value in settings.items() if value is not None}
            port = Port(open_broker(client, kept))
            opened.callback(port.close)
            return port

        yield as_user


@pytest.mark.kafka
def test_records_pass_through_sasl_ssl(log_in: LogIn) -> None:
    """With TLS and the right password everything works as without."""
    port = log_in("admin")
    topic = port.topic()

    assert send(port.producer(), numbered(topic, 100)) == [None] * 100

    assert sorted(numbers(port.member(topic).read(100))) == list(range(100))


@pytest.mark.kafka
def test_a_wrong_password_is_told(log_in: LogIn) -> None:
    """No one waits for a password to become right: every connection raises."""
    port = log_in("admin", "wrong")

    with pytest.raises(AuthenticationError):
        port.admin().partitions("topic", 20)
    with pytest.raises(AuthenticationError):
        port.producer().send(numbered("topic", 1), lambda _: None)
    member = port.member("topic")
    with pytest.raises(AuthenticationError):
        eventually(lambda: member.poll() and False)


@pytest.mark.kafka
def test_a_missing_right_is_told(log_in: LogIn) -> None:
    """Anyone who may log in and do nothing is told so when writing and when reading."""
    topic = log_in("admin").topic()
    port = log_in("nobody")

    with pytest.raises(AuthenticationError):
        port.producer().send(numbered(topic, 1), lambda _: None)
    member = port.member(topic)
    with pytest.raises(AuthenticationError):
        eventually(lambda: member.poll() and False)


@pytest.mark.kafka
def test_a_stranger_of_a_server_is_not_trusted(log_in: LogIn) -> None:
    """A certificate that no one whom we trust has signed is refused."""
    port = log_in("admin", ssl_ca_location=None)

    with pytest.raises(AuthenticationError):
        port.admin().partitions("topic", 10)
