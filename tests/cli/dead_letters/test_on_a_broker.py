"""The whole command through both client libraries, on one embedded broker and one Redis."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import orjson
import pytest

from tests.support.kafka.port import Port
from tests.support.stages.dead_letters import a_dead_record
from tests.support.stages.records import an_id
from topicserve.backends.broker import Broker
from topicserve.backends.kafka_clients import open_broker
from topicserve.backends.redis_store import RedisMetadataStore
from topicserve.cli.main import main
from topicserve.embedded.kafka_server import KafkaServer
from topicserve.embedded.redis_server import RedisServer
from topicserve.producer.result_reader import open_consumer
from topicserve.producer.topic_reader import TopicReader
from topicserve.wire.dead_letter import ATTEMPT_HEADER, Reason, decode_dead_letter
from topicserve.wire.kafka_record import KafkaRecord, OutgoingRecord

pytestmark = pytest.mark.servers

LIMIT_SECONDS = 30.0
CLIENTS = ["kafka-python", "confluent"]


class Servers(NamedTuple):
    """Where they are."""

    bootstrap_servers: str
    redis_url: str

    def broker(self, client: str) -> Broker:
        """Return the port on a client library."""
        return open_broker(client, {"bootstrap.servers": self.bootstrap_servers})

    def topics(self) -> tuple[str, str]:
        """Create an input topic and its dead-letter topic, which no other test has."""
        name = f"in-{uuid.uuid4().hex[:8]}"
        with closing(self.broker("confluent").admin()) as admin:
            for topic in (name, f"{name}.dead-letter"):
                admin.create_topic(topic, 2, LIMIT_SECONDS)
        return name, f"{name}.dead-letter"

    def write(self, topic: str, records: Sequence[KafkaRecord], *, commits: bool = True) -> None:
        """Write records in one transaction, which is committed or aborted."""
        settings = {"transactional.id": f"writer-{uuid.uuid4()}"}
        producer = self.broker("confluent").producer(settings)
        try:
            producer.init_transactions(LIMIT_SECONDS)
            producer.begin_transaction()
            sent = [OutgoingRecord(topic, r.key, r.value, r.headers, partition=0) for r in records]
            producer.send(sent, lambda _: None)
            assert producer.flush(LIMIT_SECONDS)
            end = producer.commit_transaction if commits else producer.abort_transaction
            end(LIMIT_SECONDS)
        finally:
            producer.close(LIMIT_SECONDS)


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """Run a broker that creates no topic by itself, and Redis."""
    with KafkaServer(auto_create_topics=False) as kafka, RedisServer() as redis:
        yield Servers(kafka.bootstrap_servers, redis.redis_url)


def run(servers: Servers, *words: str) -> int:
    """Run the command, and return its exit code."""
    return main(["dead-letters", *words, "--bootstrap-servers", servers.bootstrap_servers])


@pytest.mark.parametrize("client", CLIENTS)
def test_dead_letters_of_committed_transactions_are_listed_and_shown(
    client: str, servers: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of aborted ones never were; an empty partition and markers do not keep the end away."""
    topic, dead = servers.topics()
    servers.write(dead, [a_dead_record(0, topic=topic), a_dead_record(1, Reason.TIMED_OUT)])
    servers.write(dead, [a_dead_record(2)], commits=False)
    flags = ["--topic", dead, "--client", client]

    assert run(servers, "list", *flags, "--json") == 0
    listed = [orjson.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert run(servers, "show", "0:1", *flags) == 0
    shown = capsys.readouterr().out.splitlines()
    assert run(servers, "show", listed[1]["id"], *flags, "--json") == 0
    found = orjson.loads(capsys.readouterr().out)

    assert listed[0]["reasons"] == {"invalid_input": 1, "timed_out": 1}
    assert [one["offset"] for one in listed[1:]] == [0, 1]
    assert shown[0] == "reason     timed_out"
    assert (found["topic"], found["place"]) == (topic, {"partition": 0, "offset": 0})


def metadata(servers: Servers, *numbers: int) -> None:
    """Store metadata of records with these numbers."""
    with closing(RedisMetadataStore(servers.redis_url)) as store:
        store.put_many({an_id(number): b"{}" for number in numbers})


def published(servers: Servers, topic: str) -> list[KafkaRecord]:
    """Return what a topic has for readers of committed records, by id."""
    with TopicReader(
        open_consumer(servers.bootstrap_servers, None, "confluent", None), topic, lambda r: r
    ) as reader:
        found = list(reader.read(timeout_seconds=LIMIT_SECONDS, until_end=True))
    return sorted(found, key=lambda record: dict(record.headers)["ce_id"] or b"")


@pytest.mark.parametrize("client", CLIENTS)
def test_a_replay_publishes_what_was_published_at_first_and_nothing_twice(
    client: str, servers: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    """Dry first; then with a filter, then the rest; then there is nothing left, unless told."""
    topic, dead = servers.topics()
    trace = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    letters = [
        a_dead_record(0, Reason.TIMED_OUT, topic=topic),
        a_dead_record(1, topic=topic, headers=[trace], key=None),
        a_dead_record(2, Reason.TIMED_OUT, topic=topic),
        a_dead_record(3, topic=topic),
    ]
    servers.write(dead, letters[:2])
    servers.write(dead, letters[2:])
    metadata(servers, 0, 1, 2)

    def replay(*flags: str) -> dict[str, Any]:
        flags = ("--topic", dead, "--client", client, "--redis-url", servers.redis_url, *flags)
        assert run(servers, "replay", "--json", *flags) == 0
        account: dict[str, Any] = orjson.loads(capsys.readouterr().out)
        return account

    dry = replay()
    assert published(servers, topic) == []
    accounts = [
        replay("--yes", "--reason=timed_out", "--limit=9"),
        replay("--yes"),
        replay("--yes"),
    ]
    once = published(servers, topic)
    again = replay("--yes", "--again", "--missing-metadata=replay")
    both = published(servers, topic)

    assert (dry["dry_run"], dry["published"]) == (True, 3)
    assert dry["skipped_by_reason"] == {"metadata_missing": 1}
    assert [(a["read"], a["published"], a["skipped"]) for a in accounts] == [
        (4, 2, 2),
        (3, 1, 2),
        (1, 0, 1),
    ]
    originals = [decode_dead_letter(letter).record for letter in letters[:3]]
    attempt = (ATTEMPT_HEADER, b"1")
    assert [(r.key, r.value, list(r.headers)) for r in once] == [
        (r.key, r.value, [*r.headers, attempt]) for r in originals
    ]
    assert (again["published"], again["without_metadata"]) == (4, 1)
    assert len(both) == 7


@pytest.mark.parametrize("client", CLIENTS)
def test_the_group_of_a_worker_is_refused(
    client: str, servers: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would get partitions that it does not read, and keep them from the workers."""
    topic, dead = servers.topics()
    servers.write(dead, [a_dead_record(0, topic=topic)])
    port = Port(open_broker(client, {"bootstrap.servers": servers.bootstrap_servers}))
    member = port.member(topic, "workers-of-" + topic)
    member.poll_until(lambda: member.assigned)

    code = run(
        servers,
        *("replay", "--topic", dead, "--client", client, "--group", "workers-of-" + topic),
        "--missing-metadata=unchecked",
    )

    port.close()
    assert code == 2
    assert f"--group: members of 'workers-of-{topic}' read {topic}: it is a group of" in (
        capsys.readouterr().err
    )


def test_a_replay_needs_a_store_only_for_metadata(
    servers: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    """And says so before anything is published."""
    topic, dead = servers.topics()
    servers.write(dead, [a_dead_record(0, topic=topic)])
    flags = ["--topic", dead, "--redis-url=redis://127.0.0.1:1", "--yes"]

    refused = run(servers, "replay", *flags)
    problem = capsys.readouterr().err.splitlines()[-1]
    unchecked = run(servers, "replay", *flags, "--missing-metadata=unchecked")
    told = capsys.readouterr()

    assert (refused, unchecked) == (2, 0)
    assert problem.startswith("topicserve: --redis-url: no Redis answers at redis://127.0.0.1:1")
    assert "1  would be published" in told.err
    assert told.out.splitlines()[:3] == [
        "1 record read",
        "          1  published",
        f"              1  to {topic}",
    ]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["list", "--topic=no.such"], "--topic: there is no topic 'no.such'"),
        (["replay", "--topic=DEAD", "--to=no.such"], "--to: there is no topic 'no.such'"),
        (["replay", "--topic=DEAD", "--to=DEAD"], "--to: is the dead-letter topic itself"),
        (["replay", "--topic=DEAD", "--rate=0"], "--rate: must be a number from 0.01"),
        (["list", "--topic=a b"], "topic must be one topic's name"),
        (["show", "0:9", "--topic=DEAD"], "DEAD has no offset 0:9; it has 0:0-"),
        (["show", "7:0", "--topic=DEAD"], "DEAD has no offset 7:0"),
        (["show", "no-such-id", "--topic=DEAD"], "no dead letter in DEAD has the id 'no-such-id'"),
    ],
)
def test_what_is_not_there_is_named(
    words: list[str], problem: str, servers: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, with exit code 2."""
    _, dead = servers.topics()
    servers.write(dead, [a_dead_record(0)])

    code = run(servers, *(word.replace("DEAD", dead) for word in words))

    (line,) = capsys.readouterr().err.splitlines()
    assert code == 2
    assert line.startswith(f"topicserve: {problem.replace('DEAD', dead)}")


@pytest.mark.parametrize("words", [["list"], ["show", "0:1"], ["replay"]])
def test_an_unreachable_broker_is_named(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As by the other commands."""
    monkeypatch.setattr("topicserve.cli.connection.REACH_SECONDS", 0.5)

    code = run(Servers("127.0.0.1:1", ""), *words, "--topic=dead")

    (line,) = capsys.readouterr().err.splitlines()
    assert code == 2
    assert line.startswith("topicserve: --bootstrap-servers: no broker answers at 127.0.0.1:1")
