"""The dead-letter topic that the flags name: its ends, and reading all of it.

What `list`, `show` and `replay` begin with. Each reads through a group that it makes and forgets,
but a replay's own.
"""

import argparse
from collections.abc import Callable, Generator, Sequence
from contextlib import closing

from topicserve.backends.broker import LogOffsets, Offsets
from topicserve.cli import connection
from topicserve.cli.argument_types import seconds
from topicserve.cli.connection import (
    add_kafka_arguments,
    kafka_settings,
    need_topic,
    open_broker_of,
    partitions_of,
)
from topicserve.cli.dead_letters.scan import Scan
from topicserve.cli.errors import UsageError
from topicserve.producer.arguments import topic_name
from topicserve.producer.result_reader import open_consumer
from topicserve.wire.kafka_record import KafkaRecord, TopicPartition

DEFAULT_TIMEOUT_SECONDS = 30.0


def add_topic_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare which topic is read."""
    parser.add_argument("--topic", required=True, metavar="T", help="the dead-letter topic")
    add_kafka_arguments(parser)
    parser.add_argument(
        "--timeout-seconds",
        type=seconds("--timeout-seconds"),
        default=DEFAULT_TIMEOUT_SECONDS,
        metavar="S",
        help="give up when no record comes for so long before the topic's end (%(default)s)",
    )


def log_offsets_of(arguments: argparse.Namespace) -> dict[TopicPartition, LogOffsets]:
    """Return which offsets each partition has; UsageError without the topic or a broker."""
    topic = topic_name(arguments.topic)
    need_topic(arguments, topic)
    count = partitions_of(arguments, topic) or 0
    with closing(open_broker_of(arguments).admin()) as admin:
        partitions = [TopicPartition(topic, number) for number in range(count)]
        return admin.log_offsets(partitions, connection.REACH_SECONDS)


def check_group(arguments: argparse.Namespace, group: str) -> None:
    """Raise UsageError for a group whose members read other topics, as a worker's do.

    One that joined it would have partitions of theirs, and read nothing of them.
    """
    with closing(open_broker_of(arguments).admin()) as admin:
        members = admin.describe_group(group, connection.REACH_SECONDS).members
    others = {one.topic for member in members for one in member.partitions} - {arguments.topic}
    if others:
        raise UsageError(
            f"--group: members of {group!r} read {', '.join(sorted(others)[:5])}: it is a group of "
            "workers or of another program; name one of the replay's own"
        )


def ends_of(offsets: dict[TopicPartition, LogOffsets]) -> dict[TopicPartition, int]:
    """Return where each partition ends, 0 for one without records.

    Taken once, before the reading: what is written meanwhile is left out, so that it ends.
    """
    return {
        partition: found.end if found.end > found.start else 0
        for partition, found in offsets.items()
    }


def scan_all(
    arguments: argparse.Namespace,
    ends: Offsets,
    starts: Callable[[Sequence[TopicPartition]], Offsets] = lambda _: {},
) -> Generator[KafkaRecord]:
    """Yield every record up to the ends, through a group of this reading's own.

    Blocks for a broker. Raises BackendUnavailableError where no record comes for --timeout-seconds;
    the consumer is closed whenever the reading ends.
    """
    consumer = open_consumer(
        arguments.bootstrap_servers, None, arguments.client, kafka_settings(arguments)
    )
    scan = Scan(
        consumer,
        arguments.topic,
        ends,
        timeout_seconds=arguments.timeout_seconds,
        starts=starts,
    )
    try:
        for records in scan.read():
            yield from records
    finally:
        consumer.close(connection.REACH_SECONDS)
