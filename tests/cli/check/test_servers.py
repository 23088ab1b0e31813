"""What brokers and a store say, through both client libraries on one embedded stack."""

import uuid
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import pytest

from tests.support.kafka.port import Port
from topicserve.backends.broker import Broker
from topicserve.backends.kafka_clients import open_broker
from topicserve.cli.check.findings import Finding, Findings
from topicserve.cli.check.servers import check_kafka, check_store
from topicserve.embedded.kafka_server import KafkaServer
from topicserve.embedded.redis_server import RedisServer
from topicserve.worker.config.loading import load_config
from topicserve.worker.config.schema import WorkerConfig

pytestmark = pytest.mark.servers

LIMIT_SECONDS = 30.0
both_clients = pytest.mark.parametrize("client", ["kafka-python", "confluent"])


class Servers(NamedTuple):
    """Where they are."""

    bootstrap_servers: str
    redis_url: str

    def broker(self) -> Broker:
        """Return the port."""
        return open_broker("confluent", {"bootstrap.servers": self.bootstrap_servers})

    def config(self, topic: str, client: str = "confluent", **keys: object) -> WorkerConfig:
        """Return a worker's configuration; names of keys have __ for dots."""
        flags: dict[str, object] = {
            "kafka.bootstrap_servers": self.bootstrap_servers,
            "kafka.group_id": f"group-{topic}",
            "kafka.client": client,
            "metadata.redis_url": self.redis_url,
            "topics.input": [topic],
            "topics.output": f"{topic}.out",
            "servables": ["table=/models/table"],
        }
        return load_config(None, {}, flags | {k.replace("__", "."): v for k, v in keys.items()})

    def topic(self, *endings: str, config: dict[str, str] | None = None) -> str:
        """Create topics whose names end so."""
        name = f"in-{uuid.uuid4().hex[:8]}"
        with closing(self.broker().admin()) as admin:
            for ending in endings:
                admin.create_topic(f"{name}{ending}", 2, LIMIT_SECONDS, config)
        return name


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """Run a broker that creates no topic by itself, and Redis."""
    with KafkaServer(auto_create_topics=False) as kafka, RedisServer() as redis:
        yield Servers(kafka.bootstrap_servers, redis.redis_url)


def kafka_findings(config: WorkerConfig) -> dict[str, Finding]:
    """Return what is found about the brokers, by key."""
    found: list[Finding] = []
    check_kafka(config, Findings(found.append))
    return {finding.key: finding for finding in found}


def severities(found: dict[str, Finding]) -> dict[str, str]:
    """Return the severities by key."""
    return {key: finding.severity.value for key, finding in found.items()}


@both_clients
def test_servers_that_have_all_of_it_are_good(client: str, servers: Servers) -> None:
    """The dead-letter topic is created when a worker starts; nothing is created now."""
    topic = servers.topic("", ".out")

    found = kafka_findings(servers.config(topic, client))

    assert set(severities(found).values()) == {"ok"}
    assert found["topics.dead_letter"].message == f"{topic}.dead-letter is created at the start"
    assert found["kafka.group_id"].message == f"group-{topic} has 0 members"
    with closing(servers.broker().admin()) as admin:
        assert admin.partitions(f"{topic}.dead-letter", LIMIT_SECONDS) is None


def test_each_topic_that_is_missing_is_a_problem(servers: Servers) -> None:
    """Unless a worker creates it."""
    missing = kafka_findings(servers.config("missing"))
    created = kafka_findings(servers.config("missing", topics__create_partitions=3))

    assert severities(missing)["topics.input[0]"] == "problem"
    assert severities(missing)["topics.output"] == "problem"
    assert created["topics.output"].message == (
        "missing.out is created with 3 partitions at the start"
    )


def test_a_dead_letter_topic_that_takes_too_little_is_a_warning(servers: Servers) -> None:
    """The largest records would lose their value there."""
    topic = servers.topic("", ".out", ".dead-letter")

    found = kafka_findings(servers.config(topic))

    assert severities(found)["topics.dead_letter"] == "warning"
    assert "max.message.bytes" in found["topics.dead_letter"].message


def test_a_name_that_is_in_the_group_is_a_warning(servers: Servers) -> None:
    """A second worker with it would take the first one's place."""
    topic = servers.topic("", ".out")
    config = servers.config(topic, kafka__group_instance_id="worker-0")
    port = Port(servers.broker())
    member = port.member(topic, f"group-{topic}", {"group.instance.id": "worker-0"})
    member.poll_until(lambda: member.assigned)

    found = kafka_findings(config)
    port.close()

    assert severities(found)["kafka.group_instance_id"] == "warning"


def test_a_group_of_another_topic_is_a_warning(servers: Servers) -> None:
    """Two programs in one group take each other's partitions."""
    other, topic = servers.topic(""), servers.topic("", ".out")
    port = Port(servers.broker())
    member = port.member(other, f"group-{topic}")
    member.poll_until(lambda: member.assigned)

    found = kafka_findings(servers.config(topic))
    port.close()

    assert severities(found)["kafka.group_id"] == "warning"
    assert other in found["kafka.group_id"].message


@both_clients
def test_brokers_that_do_not_answer_are_a_problem(
    client: str, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So is a setting that the client does not have."""
    monkeypatch.setattr("topicserve.cli.check.servers.ANSWER_SECONDS", 0.2)
    away = {"kafka__bootstrap_servers": "127.0.0.1:1"}

    found = kafka_findings(servers.config("in", client, **away))
    refused = kafka_findings(servers.config("in", client, **{"kafka.settings.no.such": 1}))

    assert severities(found)["kafka.bootstrap_servers"] == "problem"
    assert "no.such" in refused["kafka.settings"].message


def test_a_store_answers_or_it_does_not(servers: Servers) -> None:
    """The password is not shown."""
    found: list[Finding] = []
    findings = Findings(found.append)

    check_store(servers.config("in"), findings)
    check_store(servers.config("in", metadata__redis_url="redis://:hunter2@127.0.0.1:1"), findings)

    assert [one.severity.value for one in found] == ["ok", "problem"]
    assert "hunter2" not in found[1].message
