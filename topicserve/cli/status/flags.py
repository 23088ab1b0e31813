"""The flags of `topicserve status`, and what they stand for together with a configuration."""

import argparse
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from topicserve.backends.broker import Broker
from topicserve.backends.defaults import DEFAULT_BOOTSTRAP_SERVERS
from topicserve.backends.kafka_clients import open_broker
from topicserve.cli.argument_types import http_url, seconds, time_or_age
from topicserve.cli.connection import (
    add_kafka_arguments,
    kafka_settings,
)
from topicserve.cli.errors import UsageError
from topicserve.producer.arguments import topic_name
from topicserve.worker.config.loading import load_config
from topicserve.worker.config.schema import WorkerConfig

EXAMPLE = "example: topicserve status --config worker.toml --watch"
DEFAULT_INTERVAL_SECONDS = 2.0
DEFAULT_SINCE = "1h"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.epilog = EXAMPLE
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="the worker's own: its group and its topics"
    )
    parser.add_argument("--group", metavar="G", help="the workers' consumer group")
    parser.add_argument(
        "--topic", action="append", metavar="T", help="a topic that they read; may be repeated"
    )
    parser.add_argument("--output-topic", metavar="T", help="where results go")
    parser.add_argument("--dead-letter-topic", metavar="T", help="where dead letters go")
    parser.add_argument(
        "--worker",
        action="append",
        type=http_url("--worker"),
        default=[],
        metavar="URL",
        help="a worker's HTTP address, for its versions and what it waits for; may be repeated",
    )
    add_kafka_arguments(parser, default=None)
    parser.add_argument(
        "--since",
        type=time_or_age("--since"),
        default=DEFAULT_SINCE,
        metavar="TIME",
        help="count dead letters from this time on: RFC 3339, or an age (%(default)s)",
    )
    parser.add_argument("--watch", action="store_true", help="show it again and again")
    parser.add_argument(
        "--interval-seconds",
        type=seconds("--interval-seconds"),
        default=DEFAULT_INTERVAL_SECONDS,
        metavar="S",
        help="between two looks; rates are taken over this time (%(default)g)",
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON for each look")


@dataclass(frozen=True, slots=True)
class Deployment:
    """The workers that are asked about."""

    bootstrap_servers: str
    client: str
    settings: dict[str, Any]
    group_id: str
    topics: tuple[str, ...]
    output_topic: str
    """Empty where it is not known; so are dead letters'."""
    dead_letter_topic: str
    workers: tuple[str, ...]
    since: datetime

    def broker(self) -> Broker:
        """Return the cluster; nothing is connected yet."""
        servers = {"bootstrap.servers": self.bootstrap_servers}
        return open_broker(self.client, self.settings | servers)


def deployment_of(arguments: argparse.Namespace) -> Deployment:
    """Return what the flags say, and the configuration where they do not.

    UsageError where the group or a topic is not known.
    """
    config = None if arguments.config is None else load_config(arguments.config, os.environ, {})
    group_id = arguments.group or (config.kafka.group_id if config else "")
    topics = tuple(arguments.topic or (config.topics.input if config else ()))
    if not group_id or not topics:
        raise UsageError("--config: give it, or --group and --topic")
    kafka = config.kafka if config else None
    return Deployment(
        bootstrap_servers=arguments.bootstrap_servers
        or (kafka.bootstrap_servers if kafka else DEFAULT_BOOTSTRAP_SERVERS),
        client=kafka.client.value if kafka else arguments.client,
        settings={**(kafka.settings if kafka else {}), **kafka_settings(arguments)},
        group_id=group_id,
        topics=tuple(map(topic_name, topics)),
        output_topic=arguments.output_topic or (config.topics.output if config else ""),
        dead_letter_topic=arguments.dead_letter_topic
        or (config.dead_letter_topic if config else f"{topics[0]}.dead-letter"),
        workers=tuple(arguments.worker) or _address(config),
        since=arguments.since,
    )


def _address(config: WorkerConfig | None) -> tuple[str, ...]:
    """Return where a worker on this machine answers, if its port is fixed."""
    if config is None or config.http.port <= 0:
        return ()
    host = "127.0.0.1" if config.http.host == "0.0.0.0" else config.http.host
    return (f"http://{host}:{config.http.port}",)
