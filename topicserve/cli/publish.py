"""`topicserve publish`: one record a line of a JSON Lines file."""

import argparse
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO

from topicserve.backends.metadata_store import MetadataStore
from topicserve.backends.redis_store import (
    DEFAULT_KEY_PREFIX,
    DEFAULT_TTL_SECONDS,
    RedisMetadataStore,
)
from topicserve.cli.argument_types import count, seconds
from topicserve.cli.connection import (
    DEFAULT_REDIS_URL,
    add_kafka_arguments,
    need_store,
    need_topic,
    open_broker_of,
)
from topicserve.cli.errors import UsageError
from topicserve.cli.json_lines import KEYS, numbered_lines, read_record
from topicserve.cli.progress import CountProgress
from topicserve.producer.arguments import topic_name
from topicserve.producer.record_producer import RecordProducer
from topicserve.wire.errors import InvalidRecordError

MAX_TOLD = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.epilog = f"A line is a JSON object with these keys: {', '.join(KEYS)}."
    parser.add_argument("file", metavar="FILE", help='JSON Lines; "-" is standard input')
    parser.add_argument("--topic", required=True, metavar="T", help="where the records go")
    parser.add_argument("--servable", metavar="NAME", help="for lines that name none")
    parser.add_argument(
        "--source", default="/topicserve/publish", metavar="URI", help="who says so (%(default)s)"
    )
    add_kafka_arguments(parser)
    parser.add_argument(
        "--create-topics",
        type=count("--create-topics"),
        metavar="PARTITIONS",
        help="create the topic where it is missing",
    )
    parser.add_argument(
        "--redis-url", default=DEFAULT_REDIS_URL, metavar="URL", help="the store (%(default)s)"
    )
    parser.add_argument("--key-prefix", default=DEFAULT_KEY_PREFIX, metavar="TEXT")
    parser.add_argument(
        "--ttl-seconds", type=seconds("--ttl-seconds"), default=DEFAULT_TTL_SECONDS, metavar="S"
    )
    parser.add_argument(
        "--metadata-elsewhere",
        action="store_true",
        help="lines without metadata have theirs in the store already",
    )
    parser.add_argument(
        "--skip-invalid", action="store_true", help="tell of a bad line and go on with the next"
    )


def run(arguments: argparse.Namespace) -> int:
    """Publish every line, and return once all are acknowledged."""
    with opened(arguments.file) as file:
        # What is only typed wrongly is said before anybody is waited for.
        topic_name(arguments.topic)
        store = RedisMetadataStore(
            arguments.redis_url,
            key_prefix=arguments.key_prefix,
            ttl_seconds=arguments.ttl_seconds,
        )
        need_topic(arguments, arguments.topic, arguments.create_topics)
        producer = RecordProducer(
            open_broker_of(arguments).producer(),
            store,
            arguments.topic,
            servable=arguments.servable,
            source=arguments.source,
        )
        with CountProgress("published") as progress, producer:
            skipped = publish_lines(arguments, file, producer, store, progress)
            producer.flush()
    if skipped:
        print(f"skipped {skipped:,} invalid lines", file=sys.stderr)
    return 0


def publish_lines(
    arguments: argparse.Namespace,
    file: IO[bytes],
    producer: RecordProducer,
    store: MetadataStore,
    progress: CountProgress,
) -> int:
    """Publish the lines, and return how many were invalid and skipped."""
    skipped = 0
    store_answers = False
    for number, line in numbered_lines(file):
        try:
            record = read_record(line, metadata_elsewhere=arguments.metadata_elsewhere)
            if isinstance(record.metadata, dict) and not store_answers:
                # Said now, rather than of each record when its time has run out.
                need_store(arguments, store)
                store_answers = True
            producer.publish(record).add_done_callback(progress.count_future)
        except InvalidRecordError as error:
            problem = f"{arguments.file}:{number}: {error}"
            if not arguments.skip_invalid:
                raise UsageError(f"{problem}; correct the line, or pass --skip-invalid") from error
            skipped += 1
            if skipped <= MAX_TOLD:
                print(problem, file=sys.stderr)
    return skipped


def opened(name: str) -> AbstractContextManager[IO[bytes]]:
    """Open the file, or standard input for "-"."""
    if name == "-":
        if sys.stdin is None:
            raise UsageError("-: standard input is closed; give a JSON Lines file")
        return nullcontext(sys.stdin.buffer)
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror}; give a JSON Lines file or -") from error
