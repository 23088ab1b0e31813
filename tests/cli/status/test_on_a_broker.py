"""The whole command through both client libraries, on one embedded broker."""

import uuid
from collections.abc import Iterator
from contextlib import closing

import orjson
import pytest

from tests.support.kafka.port import Port, send
from tests.support.stages.dead_letters import a_dead_record
from tests.support.stages.records import an_id
from topicserve.backends.broker import Broker
from topicserve.backends.kafka_clients import open_broker
from topicserve.cli.main import main
from topicserve.embedded.kafka_server import KafkaServer
from topicserve.wire.kafka_record import OutgoingRecord, TopicPartition

pytestmark = pytest.mark.servers

LIMIT_SECONDS = 30.0


@pytest.fixture(scope="module")
def kafka() -> Iterator[str]:
    """Run a broker that creates no topic by itself."""
    with KafkaServer(auto_create_topics=False) as server:
        yield server.bootstrap_servers


def a_broker(client: str, kafka: str) -> Broker:
    """Return the port, with a worker's id."""
    return open_broker(client, {"bootstrap.servers": kafka, "client.id": "worker-1"})


def a_result(number: int, topic: str) -> OutgoingRecord:
    """Return a result of worker-1."""
    headers = [
        ("ce_type", b"topicserve.result"),
        ("ce_id", an_id(number).encode()),
        ("ce_servable", b"digits"),
        ("ce_servableversion", b"7"),
    ]
    return OutgoingRecord(topic, None, b'{"worker":"worker-1"}', headers)


@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_a_group_is_shown_with_its_lag_and_its_last_outcomes(
    client: str, kafka: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half of the records are answered; one was given up, and one result was published."""
    topic = f"in-{uuid.uuid4().hex[:8]}"
    with closing(a_broker(client, kafka).admin()) as admin:
        for name in (topic, f"{topic}.out", f"{topic}.dead-letter"):
            admin.create_topic(name, 1, LIMIT_SECONDS)
    port = Port(a_broker(client, kafka))
    letter = a_dead_record(0)
    producer = port.producer()
    send(producer, [OutgoingRecord(topic, None, b"{}")] * 10)
    send(producer, [OutgoingRecord(f"{topic}.dead-letter", None, letter.value, letter.headers)])
    send(producer, [a_result(1, f"{topic}.out")])
    member = port.member(topic, f"group-{topic}")
    member.poll_until(lambda: member.assigned)
    member.consumer.commit({TopicPartition(topic, 0): 5}, LIMIT_SECONDS)

    code = main(
        [
            *("status", "--group", f"group-{topic}", "--topic", topic, "--json"),
            *("--output-topic", f"{topic}.out", "--client", client, "--interval-seconds", "0.1"),
            *("--bootstrap-servers", kafka),
        ]
    )
    port.close()

    found = orjson.loads(capsys.readouterr().out)
    assert code == 1  # the records wait
    assert (found["state"], found["lag"]) == ("Stable", 5)
    assert found["partitions"][0]["committed"] == 5
    assert found["partitions"][0]["worker"] == "worker-1"
    assert found["members"][0]["partitions"] == 1
    assert found["dead_letters"] == {"invalid_input": 1}
    assert found["last_results"] == {"worker-1": {"digits version 7": 1}}
    assert found["waiting_for"] == [f"{topic}-0: 5 records wait, and none was answered"]


def test_a_group_that_never_was_is_shown_as_tables(
    kafka: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has no members, and its topic does not exist."""
    words = ["--group", "unused", "--topic", "missing", "--interval-seconds", "0.1"]

    code = main(["status", *words, "--bootstrap-servers", kafka])

    out = capsys.readouterr().out
    assert code == 1
    assert "group unused  Dead" in out
    assert "waiting: topic missing does not exist" in out
    assert "waiting: no worker is in the group unused" in out


def test_a_broker_that_does_not_answer_is_an_error_to_correct(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line."""
    monkeypatch.setattr("topicserve.cli.connection.REACH_SECONDS", 0.2)
    words = ["--group", "g", "--topic", "t", "--bootstrap-servers", "127.0.0.1:1"]

    assert main(["status", *words, "--client", "confluent"]) == 2
    assert "no broker answers at 127.0.0.1:1" in capsys.readouterr().err
