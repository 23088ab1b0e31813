"""The producer's side through both client libraries, on the embedded broker and Apache Kafka."""

import uuid
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import pytest

from tests.support.kafka.kafka_servers import open_server
from topicserve import (
    DeadLetter,
    DeadLetterReader,
    PublishError,
    Reason,
    Record,
    RecordProducer,
    RecordTooLargeError,
    ResultReader,
)
from topicserve.backends.errors import BackendUnavailableError, UnknownTopicError
from topicserve.backends.kafka_clients import open_broker
from topicserve.backends.redis_store import RedisMetadataStore
from topicserve.embedded.redis_server import RedisServer
from topicserve.producer import result_reader, topic_reader
from topicserve.producer.result_reader import open_consumer
from topicserve.producer.topic_reader import TopicReader
from topicserve.wire.dead_letter import encode_dead_letter
from topicserve.wire.input_record import InputRecord, decode_input
from topicserve.wire.kafka_record import KafkaRecord

pytestmark = pytest.mark.servers

LIMIT_SECONDS = 30.0


class Servers(NamedTuple):
    """Where they are."""

    bootstrap_servers: str
    redis_url: str


@pytest.fixture(
    scope="module", params=["embedded", pytest.param("apache", marks=pytest.mark.kafka)]
)
def servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    """Run a broker of each sort, and Redis."""
    with open_server(request.param, auto_create_topics=False) as kafka, RedisServer() as redis:
        yield Servers(kafka.bootstrap_servers, redis.redis_url)


@pytest.fixture(params=["kafka-python", "confluent"])
def client(request: pytest.FixtureRequest) -> str:
    """Return each client library's name."""
    return str(request.param)


@pytest.fixture
def topic(servers: Servers, client: str) -> str:
    """Create a topic that no other test has."""
    name = f"topic-{uuid.uuid4().hex[:8]}"
    broker = open_broker(client, {"bootstrap.servers": servers.bootstrap_servers})
    with closing(broker.admin()) as admin:
        admin.create_topic(name, 2, LIMIT_SECONDS)
    return name


def connect(servers: Servers, client: str, topic: str) -> RecordProducer:
    """Return a producer on both servers."""
    return RecordProducer.connect(
        servers.bootstrap_servers, servers.redis_url, topic, client=client
    )


def inputs(
    servers: Servers, client: str, topic: str, group_id: str = ""
) -> TopicReader[InputRecord]:
    """Return a reader of what was published."""
    consumer = open_consumer(servers.bootstrap_servers, group_id or None, client, None)
    return TopicReader(consumer, topic, decode_input)


def test_everything_published_is_there_with_its_metadata(
    servers: Servers, client: str, topic: str
) -> None:
    """Each record once, in the order of its key, and its metadata in the store."""
    with connect(servers, client, topic) as producer:
        futures = producer.publish_many(
            Record(instance=n, metadata={"n": n}, key=str(n % 3)) for n in range(3000)
        )

    with inputs(servers, client, topic) as reader:
        read = list(reader.read(until_end=True, timeout_seconds=LIMIT_SECONDS))
    numbers = [record.payload for record in read]
    assert sorted(numbers) == list(range(3000))
    for key in range(3):
        of_key = [number for number in numbers if number % 3 == key]
        assert of_key == sorted(of_key)
    with closing(RedisMetadataStore(servers.redis_url)) as store:
        stored = store.get_many([future.record_id for future in futures])
    assert stored == [b'{"n":%d}' % n for n in range(3000)]


def test_a_record_that_the_broker_refuses_fails_alone(
    servers: Servers, client: str, topic: str
) -> None:
    """The others are there, and the failure says what is wrong."""
    producer = connect(servers, client, topic)

    futures = producer.publish_many(Record(instance=text) for text in ("a", "x" * 3_000_000, "b"))
    with pytest.raises(PublishError) as caught:
        producer.flush(LIMIT_SECONDS)
    producer.close()

    assert list(caught.value.failures) == [futures[1].record_id]
    assert isinstance(futures[1].exception(), RecordTooLargeError)
    assert {futures[0].result().topic, futures[2].result().topic} == {topic}
    with inputs(servers, client, topic) as reader:
        read = list(reader.read(until_end=True, timeout_seconds=LIMIT_SECONDS))
    assert sorted(record.payload for record in read) == ["a", "b"]


def test_a_group_goes_on_where_it_committed(servers: Servers, client: str, topic: str) -> None:
    """What was yielded and committed is not yielded again; what was only polled is."""
    with connect(servers, client, topic) as producer:
        producer.publish_many(Record(instance=n, key="one") for n in range(10))

    with inputs(servers, client, topic, f"group-{topic}") as reader:
        first = [record.payload for record in reader.read(limit=4)]
        reader.commit()
    with inputs(servers, client, topic, f"group-{topic}") as reader:
        rest = [record.payload for record in reader.read(until_end=True, timeout_seconds=30)]

    assert (first, rest) == ([0, 1, 2, 3], [4, 5, 6, 7, 8, 9])


def test_the_end_is_found_behind_transactions(servers: Servers, client: str, topic: str) -> None:
    """Their markers are at offsets of their own, and aborted records are never yielded."""
    broker = open_broker(client, {"bootstrap.servers": servers.bootstrap_servers})
    dead_letter = DeadLetter(
        KafkaRecord("in", 0, 7, 1700, b"key", b"value", []), Reason.INVALID_RECORD, "E", "why"
    )
    producer = broker.producer({"transactional.id": topic})
    producer.init_transactions(LIMIT_SECONDS)
    for end in (producer.commit_transaction, producer.abort_transaction):
        producer.begin_transaction()
        producer.send([encode_dead_letter(dead_letter, topic)], lambda _: None)
        producer.flush(LIMIT_SECONDS)
        end(LIMIT_SECONDS)
    producer.close(LIMIT_SECONDS)

    # Without a timeout: it ends because it knows the end, or never.
    connected = DeadLetterReader.connect(servers.bootstrap_servers, topic, client=client)
    with connected as reader:
        read = list(reader.read(until_end=True))

    assert read == [dead_letter]


def test_a_reader_tells_of_a_missing_topic_and_of_an_empty_one(
    servers: Servers, client: str, topic: str
) -> None:
    """The one is an error within seconds, the other has no results."""
    missing = ResultReader.connect(servers.bootstrap_servers, "missing", client=client)
    empty = ResultReader.connect(servers.bootstrap_servers, topic, client=client)

    with missing, pytest.raises(UnknownTopicError):
        list(missing.read(timeout_seconds=0))
    with empty:
        assert list(empty.read(timeout_seconds=0)) == []


def test_a_reader_tells_that_no_broker_answers(
    client: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within seconds, also where it would wait for the end of the topic."""
    monkeypatch.setattr(result_reader, "CHECK_ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(topic_reader, "FIRST_CHECK_SECONDS", 0.1)
    with (
        ResultReader.connect("127.0.0.1:1", "results", client=client) as reader,
        pytest.raises(BackendUnavailableError),
    ):
        list(reader.read(until_end=True))
