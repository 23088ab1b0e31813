"""The flags of commands that talk to Kafka, and what they stand for.

For commands that are given servers one by one. Those that read a worker's configuration use
`topicserve.cli.config.flags`.
"""

import argparse
import time
from collections.abc import Callable
from contextlib import closing
from typing import TypeVar

from topicserve.backends.broker import Broker, OffsetsAdmin
from topicserve.backends.defaults import (
    CLIENTS,
    DEFAULT_BOOTSTRAP_SERVERS,
    DEFAULT_KEY_PREFIX,
    DEFAULT_REDIS_URL,
)
from topicserve.backends.errors import BackendBusyError, BackendUnavailableError
from topicserve.backends.kafka_clients import open_broker
from topicserve.backends.metadata_store import MetadataStore
from topicserve.cli.errors import UsageError
from topicserve.redact import redact_url
from topicserve.wire.kafka_record import TopicIdentity

REACH_SECONDS = 10.0
_STEP_SECONDS = 0.2

T = TypeVar("T")


def add_kafka_arguments(
    parser: argparse.ArgumentParser, default: str | None = DEFAULT_BOOTSTRAP_SERVERS
) -> None:
    """Declare where the cluster is and how to talk to it."""
    parser.add_argument(
        "--bootstrap-servers",
        default=default,
        metavar="H:P[,H:P]",
        help="where to find the cluster" + (" (%(default)s)" if default else ""),
    )
    parser.add_argument(
        "--client", choices=CLIENTS, default=CLIENTS[0], help="the client library (%(default)s)"
    )
    parser.add_argument(
        "--kafka-setting",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any of Kafka's settings, such as security.protocol=SASL_SSL; may be repeated",
    )
    parser.add_argument("--verbose", action="store_true", help="show what the client library logs")


def add_store_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare where the metadata store is, and how its keys begin."""
    parser.add_argument(
        "--redis-url", default=DEFAULT_REDIS_URL, metavar="URL", help="the store (%(default)s)"
    )
    parser.add_argument(
        "--key-prefix",
        default=DEFAULT_KEY_PREFIX,
        metavar="TEXT",
        help="what stands before the record id in a key of the store (%(default)s)",
    )


def kafka_settings(arguments: argparse.Namespace) -> dict[str, object]:
    """Return Kafka's settings as they were typed, by Kafka's own names; values are texts.

    UsageError where one is not NAME=VALUE; it does not show what was typed, which may be a
    password.
    """
    settings: dict[str, object] = {}
    for setting in arguments.kafka_setting:
        name, equals, value = setting.partition("=")
        if not name or not equals:
            raise UsageError("--kafka-setting: must be NAME=VALUE; one of them is not")
        settings[name] = value
    return settings


def open_broker_of(arguments: argparse.Namespace) -> Broker:
    """Return the cluster that the flags name; nothing is connected yet."""
    servers = {"bootstrap.servers": arguments.bootstrap_servers}
    return open_broker(arguments.client, servers | kafka_settings(arguments))


def need_topic(
    arguments: argparse.Namespace, topic: str, create_partitions: int | None = None
) -> None:
    """Raise UsageError where the broker or the topic is not there, unless it may be created.

    Waits up to 10 seconds for a broker. With `create_partitions` a missing topic is created.
    """
    if partitions_of(arguments, topic) is not None:
        return
    if create_partitions is None:
        raise UsageError(
            f"--topic: there is no topic {topic!r} at {arguments.bootstrap_servers}; "
            "correct the name, or create the topic"
        )
    with closing(open_broker_of(arguments).admin()) as admin:
        admin.create_topic(topic, create_partitions, REACH_SECONDS)


def partitions_of(arguments: argparse.Namespace, topic: str) -> int | None:
    """Return how many partitions a topic has, None without one; UsageError without a broker."""
    return _asked(arguments, lambda admin: admin.partitions(topic, REACH_SECONDS))


def identity_of(
    arguments: argparse.Namespace, topic: str, *, wait_steps: int = 0
) -> TopicIdentity | None:
    """Return which topic this is, None without one; UsageError without a broker.

    A topic that was just created may be waited for, in steps of 0.2 s.
    """

    def ask(admin: OffsetsAdmin) -> TopicIdentity | None:
        found = admin.topic_identity(topic, REACH_SECONDS)
        for _ in range(wait_steps):
            if found is not None:
                break
            time.sleep(_STEP_SECONDS)
            found = admin.topic_identity(topic, REACH_SECONDS)
        return found

    return _asked(arguments, ask)


def _asked(arguments: argparse.Namespace, question: Callable[[OffsetsAdmin], T]) -> T:
    with closing(open_broker_of(arguments).admin()) as admin:
        try:
            return question(admin)
        except BackendUnavailableError as error:
            raise UsageError(
                f"--bootstrap-servers: no broker answers at {arguments.bootstrap_servers} within "
                f"{REACH_SECONDS:g} s ({error}); start it, or correct the address"
            ) from error


def need_store(arguments: argparse.Namespace, store: MetadataStore) -> None:
    """Raise UsageError where no store answers.

    One that loads its data or fails over is there: it is waited for later, record by record.
    """
    try:
        store.ping()
    except BackendBusyError:
        return  # it is the right address; each record waits for the store, within its timeout
    except BackendUnavailableError as error:
        raise UsageError(
            f"--redis-url: no Redis answers at {redact_url(arguments.redis_url)} "
            f"({error}); start it, or correct the address"
        ) from error
