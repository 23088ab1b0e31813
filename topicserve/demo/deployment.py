"""Where the demo runs: servers, topics, and the workers' configuration."""

import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from topicserve.backends.broker import Broker, Consumer
from topicserve.backends.defaults import DEFAULT_CLIENT
from topicserve.backends.errors import BackendError
from topicserve.backends.kafka_clients import open_broker
from topicserve.backends.redis_store import RedisMetadataStore
from topicserve.demo.errors import DemoError
from topicserve.demo.ledger import DemoLedger
from topicserve.producer.result_reader import open_consumer

PARTITIONS = 4
# The shortest that Apache Kafka allows by default: how long a killed worker is waited for.
SESSION_TIMEOUT_MS = 6000
HEARTBEAT_MS = 2000
_ADMIN_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Servers:
    """A Kafka cluster and a Redis; `own` are the user's, which the demo leaves as they were."""

    bootstrap_servers: str
    redis_url: str
    client: str = DEFAULT_CLIENT
    kafka_settings: Mapping[str, object] = field(default_factory=dict)
    own: bool = True

    def broker(self) -> Broker:
        """Return the cluster, not connected yet."""
        servers = {"bootstrap.servers": self.bootstrap_servers}
        return open_broker(self.client, servers | dict(self.kafka_settings))

    def consumer(self) -> Consumer:
        """Open a consumer that starts at a topic's beginning, in a group of its own."""
        return open_consumer(
            self.bootstrap_servers, None, self.client, kafka_settings=self.kafka_settings
        )


@contextmanager
def embedded_servers(client: str) -> Iterator[Servers]:
    """Start both servers, and stop them in the end."""
    from topicserve.embedded.server_process import ServerStartError
    from topicserve.embedded.stack import Stack

    stack = Stack()
    try:
        stack.start()
    except ServerStartError as error:
        raise DemoError(f"the embedded servers did not start: {error}") from error
    try:
        yield Servers(stack.bootstrap_servers, stack.redis_url, client, own=False)
    finally:
        stack.stop()


@dataclass(frozen=True, slots=True)
class DemoTopics:
    """Names that no other run has."""

    run: str = field(default_factory=lambda: f"topicserve-demo-{uuid.uuid4().hex[:8]}")

    @property
    def input(self) -> str:
        """Where records go."""
        return f"{self.run}.records"

    @property
    def output(self) -> str:
        """Where results go."""
        return f"{self.run}.results"

    @property
    def dead_letter(self) -> str:
        """Where records go that are given up."""
        return f"{self.run}.dead-letter"

    def all(self) -> tuple[str, str, str]:
        """Return the three."""
        return self.input, self.output, self.dead_letter


@contextmanager
def created_topics(servers: Servers) -> Iterator[DemoTopics]:
    """Create the three topics, and delete them in the end from a user's own cluster."""
    topics = DemoTopics()
    with closing(servers.broker().admin()) as admin:
        for topic in topics.all():
            admin.create_topic(topic, PARTITIONS, _ADMIN_SECONDS)
    try:
        yield topics
    finally:
        if servers.own:
            _delete(servers, topics)


def _delete(servers: Servers, topics: DemoTopics) -> None:
    try:
        with closing(servers.broker().admin()) as admin:
            for topic in topics.all():
                admin.delete_topic(topic, _ADMIN_SECONDS)
    except BackendError as error:
        names = ", ".join(topics.all())
        raise DemoError(f"the topics {names} could not be deleted: {error}") from error


def forget_metadata(servers: Servers, ledger: DemoLedger) -> None:
    """Delete what a run has stored in a user's own Redis."""
    if servers.own:
        store = RedisMetadataStore(servers.redis_url)
        with closing(store):
            store.delete_many(ledger.ids())


def worker_config(servers: Servers, topics: DemoTopics, servables: str) -> str:
    """Return a worker's configuration file; `servables` are its [[servables]] tables."""
    quoted = json.dumps  # a JSON string is a TOML string too
    settings = "".join(
        f"{quoted(name)} = {quoted(str(value))}\n" for name, value in servers.kafka_settings.items()
    )
    return f"""\
[topics]
input = [{quoted(topics.input)}]
output = {quoted(topics.output)}
dead_letter = {quoted(topics.dead_letter)}

[kafka]
bootstrap_servers = {quoted(servers.bootstrap_servers)}
client = {quoted(servers.client)}
group_id = {quoted(topics.run)}

[kafka.settings]
{settings}
[kafka.consumer_settings]
"session.timeout.ms" = {SESSION_TIMEOUT_MS}
"heartbeat.interval.ms" = {HEARTBEAT_MS}

[metadata]
redis_url = {quoted(servers.redis_url)}

{servables}"""
