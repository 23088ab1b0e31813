"""A broker, a store and a table with two versions, for the tests of one module."""

import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from tests.support.processes.child_process import ChildProcess
from tests.support.processes.toml import to_toml
from tests.support.servables.table import TABLE, table_servable
from tests.support.stages.records import a_kafka_record, an_id
from topicserve.backends.broker import Broker
from topicserve.backends.kafka_clients import open_broker
from topicserve.producer.result_reader import open_consumer
from topicserve.producer.topic_reader import TopicReader
from topicserve.wire.kafka_record import KafkaRecord, OutgoingRecord

LIMIT_SECONDS = 60.0


class Names(NamedTuple):
    """Topics of one test."""

    input: str
    output: str


class Ended(NamedTuple):
    """What a command has left."""

    code: int
    out: str
    err: str


class Stack(NamedTuple):
    """Where the servers are, and the worker's configuration file."""

    bootstrap_servers: str
    redis_url: str
    directory: Path

    @property
    def broker(self) -> Broker:
        """Return the port; confluent's is the faster one."""
        return open_broker("confluent", {"bootstrap.servers": self.bootstrap_servers})

    def topics(self, partitions: int = 2) -> Names:
        """Create an input topic and the topic of a replay, which no other test has."""
        name = f"in-{uuid.uuid4().hex[:8]}"
        names = Names(name, f"{name}.replayed")
        with closing(self.broker.admin()) as admin:
            for topic in (*names, f"{name}.live"):
                admin.create_topic(topic, partitions, LIMIT_SECONDS)
        return names

    def publish(self, topic: str, numbers: Sequence[int], **changes: Any) -> None:
        """Write records, the even ones to partition 0; each tenth asks for an unknown key."""
        records = [
            a_kafka_record(n, f"k{n % 100}" if n % 10 else "unknown", **changes) for n in numbers
        ]
        self.send(topic, records)

    def send(self, topic: str, records: Sequence[KafkaRecord]) -> None:
        """Write records, those with even offsets to partition 0, and the others to 1."""
        producer = self.broker.producer()
        sent = [
            OutgoingRecord(topic, r.key, r.value, r.headers, partition=r.offset % 2)
            for r in records
        ]
        try:
            producer.send(sent, lambda _: None)
            assert producer.flush(LIMIT_SECONDS)
        finally:
            producer.close(LIMIT_SECONDS)

    def config(self, topic: str, **changes: Any) -> Path:
        """Write the configuration of the live worker of a topic."""
        content: Mapping[str, Any] = {
            "kafka": {
                "bootstrap_servers": self.bootstrap_servers,
                "group_id": f"live-{topic}",
                "client": "confluent",
            },
            "topics": {"input": [topic], "output": f"{topic}.live"},
            "metadata": {"redis_url": self.redis_url},
            "servables": [
                {
                    **table_servable(self.directory / TABLE),
                    "versions": [1],
                    "version_labels": {"stable": 1},
                }
            ],
        }
        path = self.directory / f"{topic}.toml"
        path.write_text(to_toml({**content, **changes}))
        return path

    def command(self, names: Names, *words: str) -> list[str]:
        """Return the command that replays a topic."""
        return [
            *(sys.executable, "-m", "topicserve", "replay", "--config"),
            *(str(self.config(names.input)), "--topic", names.input),
            *("--output-topic", names.output, *words),
        ]

    def replay(self, names: Names, *words: str) -> Ended:
        """Run it to its end."""
        done = subprocess.run(
            self.command(names, *words),
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def process(self, names: Names, *words: str) -> ChildProcess:
        """Return the command as a process that a test may kill."""
        log = self.directory / f"{uuid.uuid4().hex[:8]}.log"
        return ChildProcess(self.command(names, *words), log)

    def read(self, topic: str) -> list[KafkaRecord]:
        """Return what a topic has for readers of committed records."""
        consumer = open_consumer(self.bootstrap_servers, None, "confluent", None)
        with TopicReader(consumer, topic, lambda record: record) as reader:
            return list(reader.read(timeout_seconds=LIMIT_SECONDS, until_end=True))


def a_result(number: int, prediction: Any, version: int = 6, group: str = "") -> KafkaRecord:
    """Return a result, of a replay where a group is given."""
    body = {
        "id": an_id(number),
        "servable": {"name": "digits", "version": version},
        "signature_name": "serving_default",
        "prediction": prediction,
        "metadata": None,
        "metadata_status": "absent",
    }
    headers = [("ce_type", b"topicserve.result"), ("ce_id", an_id(number).encode())]
    if group:
        headers += [
            ("topicserve-replay-group", group.encode()),
            ("topicserve-replay-input", f"in:0:{number}".encode()),
        ]
    return KafkaRecord("out", 0, number, 0, b"key", orjson.dumps(body), headers)
