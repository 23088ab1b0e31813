"""Looks at the brokers, the topics, the group and the store. Creates nothing, joins no group.

Each question may take 5 seconds. A server that does not answer is a finding and no exception.
"""

import socket
from collections.abc import Callable
from contextlib import closing

from topicserve.backends.broker import Broker, OffsetsAdmin
from topicserve.backends.errors import (
    AuthenticationError,
    BackendConfigError,
    BackendError,
    BackendUnavailableError,
)
from topicserve.backends.redis_store import RedisMetadataStore
from topicserve.cli.check.findings import Findings
from topicserve.cli.terminal import counted
from topicserve.redact import redact_url
from topicserve.worker.config.schema import HttpConfig, WorkerConfig
from topicserve.worker.runtime.kafka_settings import (
    consumer_settings,
    open_workers_broker,
    producer_settings,
)
from topicserve.worker.runtime.preflight import MAX_MESSAGE_BYTES

ANSWER_SECONDS = 5.0
_CLIENT_ID = "topicserve-check"


def check_kafka(config: WorkerConfig, findings: Findings) -> None:
    """Look at the settings, the brokers, the topics and the group.

    Besides what a worker would refuse it warns of a dead-letter topic that takes no larger records
    than the input topics, and of a static member's name that is in the group already.
    """
    broker = _checked_settings(config, findings)
    if broker is None:
        return
    where = config.kafka.bootstrap_servers
    try:
        with closing(broker.admin()) as admin:
            _check_topics(config, admin, findings)
            _check_group(config, admin, findings)
    except BackendUnavailableError as error:
        findings.problem("kafka.bootstrap_servers", f"no broker answers at {where} ({error})")
    except AuthenticationError as error:
        findings.problem("kafka.settings", f"the broker refuses the connection: {error}")
    except BackendError as error:
        findings.problem("kafka.bootstrap_servers", f"{where}: {error}")


def check_store(config: WorkerConfig, findings: Findings) -> None:
    """Look whether the metadata store answers."""
    metadata, key = config.metadata, "metadata.redis_url"
    where = redact_url(metadata.redis_url)
    try:
        store = RedisMetadataStore(metadata.redis_url, timeout_seconds=metadata.timeout_seconds)
        with closing(store):
            store.ping()
    except BackendError as error:
        findings.problem(key, f"{where}: {error}")
    else:
        findings.ok(key, f"{where} answers")


def check_http(http: HttpConfig, findings: Findings) -> None:
    """Look whether the HTTP port is free: listen on it, and let it go at once."""
    if http.port <= 0:
        findings.ok("http.port", "a free port is taken" if http.port == 0 else "no HTTP server")
        return
    try:
        socket.create_server((http.host, http.port)).close()
    except OSError as error:
        message = f"{http.host}:{http.port} cannot be listened on: {error.strerror or error}"
        findings.problem("http.port", message)
    else:
        findings.ok("http.port", f"{http.host}:{http.port} is free")


def _checked_settings(config: WorkerConfig, findings: Findings) -> Broker | None:
    """Open each kind of client: they connect later, and check their settings now."""
    try:
        broker = open_workers_broker(config, _CLIENT_ID)
    except BackendConfigError as error:
        findings.problem("kafka.settings", str(error))
        return None
    opened: tuple[tuple[str, Callable[[], object]], ...] = (
        (
            "kafka.consumer_settings",
            lambda: broker.consumer(config.kafka.group_id, consumer_settings(config)).close(0),
        ),
        (
            "kafka.producer_settings",
            lambda: broker.producer(producer_settings(config, {})).close(0),
        ),
    )
    for key, open_one in opened:
        try:
            open_one()
        except BackendConfigError as error:
            findings.problem(key, str(error))
        else:
            findings.ok(key, f"{config.kafka.client.value} takes them")
    return broker


def _check_topics(config: WorkerConfig, admin: OffsetsAdmin, findings: Findings) -> None:
    topics, will_create = config.topics, config.topics.create_partitions
    named = [(f"topics.input[{index}]", topic) for index, topic in enumerate(topics.input)]
    named += [("topics.output", topics.output)]
    named += [("topics.shadow", topics.shadow)] if topics.shadow else []
    for key, topic in named:
        partitions = admin.partitions(topic, ANSWER_SECONDS)
        if partitions is not None:
            findings.ok(key, f"{topic} has {counted(partitions, 'partition')}")
        elif will_create:
            findings.ok(
                key, f"{topic} is created with {counted(will_create, 'partition')} at the start"
            )
        else:
            findings.problem(
                key, f"there is no topic {topic!r}; create it, or set create_partitions"
            )
    _check_dead_letter_topic(config, admin, findings)


def _check_dead_letter_topic(config: WorkerConfig, admin: OffsetsAdmin, findings: Findings) -> None:
    key, topic = "topics.dead_letter", config.dead_letter_topic
    partitions = admin.partitions(topic, ANSWER_SECONDS)
    if partitions is None:
        findings.ok(key, f"{topic} is created at the start")
        return
    own = _limit(admin, topic)
    larger = [t for t in config.topics.input if own is not None and (_limit(admin, t) or 0) >= own]
    if larger:
        findings.warning(
            key,
            f"{topic} takes records of up to {own} bytes ({MAX_MESSAGE_BYTES}), no more than "
            f"{', '.join(larger)}: the largest dead letters lose their value",
        )
    else:
        findings.ok(key, f"{topic} has {counted(partitions, 'partition')}")


def _limit(admin: OffsetsAdmin, topic: str) -> int | None:
    try:
        found = admin.topic_config(topic, MAX_MESSAGE_BYTES, ANSWER_SECONDS)
    except BackendUnavailableError:
        raise
    except BackendError:
        return None  # it may be asked by those alone who administrate
    return None if found is None else int(found)


def _check_group(config: WorkerConfig, admin: OffsetsAdmin, findings: Findings) -> None:
    kafka = config.kafka
    group = admin.describe_group(kafka.group_id, ANSWER_SECONDS)
    instance = kafka.group_instance_id
    same = [one for one in group.members if instance and one.group_instance_id == instance]
    if same:
        findings.warning(
            "kafka.group_instance_id",
            f"{instance!r} is in the group {kafka.group_id} already ({same[0].client_id} on "
            f"{same[0].host}); a second worker with this name takes its place",
        )
        return
    foreign = {
        partition.topic for member in group.members for partition in member.partitions
    }.difference(config.topics.input)
    if foreign:
        findings.warning(
            "kafka.group_id",
            f"the group {kafka.group_id} reads other topics too: {', '.join(sorted(foreign))}",
        )
        return
    findings.ok("kafka.group_id", f"{kafka.group_id} has {len(group.members)} members")
