"""The producer's side through both client libraries, on the embedded broker and Apache Kafka."""

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import pytest

from tests.support.kafka.kafka_servers import open_server
from tests.support.traffic.echo import echo
from topicserve import (
    AsyncDeadLetterReader,
    AsyncPredictClient,
    AsyncRecordProducer,
    DeadLetter,
    DeadLetterError,
    DeadLetterReader,
    Place,
    PredictClient,
    PublishError,
    Reason,
    Record,
    RecordProducer,
    RecordTooLargeError,
    Result,
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


@pytest.fixture
def answered(servers: Servers, client: str, topic: str) -> Iterator[tuple[str, str, str]]:
    """Answer what is published to a topic; return its three topics."""
    topics = (topic, f"{topic}.results", f"{topic}.dead")
    broker = open_broker(client, {"bootstrap.servers": servers.bootstrap_servers})
    with closing(broker.admin()) as admin:
        for name in topics[1:]:
            admin.create_topic(name, 2, LIMIT_SECONDS)
    with echo(servers.bootstrap_servers, client, topic):
        yield topics


def test_calls_wait_for_their_answers(
    servers: Servers, client: str, answered: tuple[str, str, str]
) -> None:
    """In threads and in tasks: values, dead letters, and nothing from before the start."""
    inputs, outputs, dead_letters = answered
    where = (servers.bootstrap_servers, servers.redis_url, inputs, outputs)

    async def ask() -> list[object]:
        async with AsyncPredictClient.connect(
            *where, dead_letter_topic=dead_letters, client=client, timeout_seconds=LIMIT_SECONDS
        ) as asynchronous:
            asked = [asynchronous.predict(instance=value) for value in (3.0, "no", 4.0)]
            return await asyncio.gather(*asked, return_exceptions=True)

    with PredictClient.connect(
        *where, dead_letter_topic=dead_letters, client=client, timeout_seconds=LIMIT_SECONDS
    ) as synchronous:
        values = [synchronous.predict(instance=float(n), metadata={"n": n}).value for n in range(3)]
        with pytest.raises(DeadLetterError, match="no number"):
            synchronous.predict(instance="text")
    first, refused, last = asyncio.run(ask())

    assert values == [0.0, 2.0, 4.0]
    assert isinstance(first, Result)
    assert isinstance(last, Result)
    assert (first.value, last.value) == (6.0, 8.0)
    assert isinstance(refused, DeadLetterError)


def test_the_twins_on_asyncio_publish_and_read(servers: Servers, client: str, topic: str) -> None:
    """As the synchronous ones: each record's place, its metadata, the dead letter of a topic."""

    async def publish_and_read() -> tuple[list[Place], list[DeadLetter]]:
        async with AsyncRecordProducer.connect(
            servers.bootstrap_servers, servers.redis_url, topic, client=client
        ) as producer:
            futures = await producer.publish_many(
                Record(instance=n, metadata={"n": n}) for n in range(50)
            )
            places = await asyncio.gather(*futures)
        skipped: list[KafkaRecord] = []
        async with AsyncDeadLetterReader.connect(
            servers.bootstrap_servers,
            topic,
            client=client,
            on_invalid=lambda record, _: skipped.append(record),
        ) as reader:
            letters = [letter async for letter in reader.read(until_end=True)]
        assert sorted((r.topic, r.partition, r.offset) for r in skipped) == sorted(places)
        return places, letters

    places, letters = asyncio.run(publish_and_read())
    assert len(set(places)) == 50
    assert letters == []


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
