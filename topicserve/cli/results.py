"""`topicserve results`: one result, shadow record or dead letter, a line of JSON each.

A reader for people and shell scripts. Programs use `topicserve.ResultReader`, which this one is
built on too.
"""

import argparse
from contextlib import suppress
from typing import Any

from topicserve.backends.errors import CommitRefusedError
from topicserve.backends.references.body_reader import BodyReader
from topicserve.cli.argument_types import count, seconds
from topicserve.cli.connection import add_kafka_arguments, kafka_settings, need_topic
from topicserve.cli.errors import UsageError
from topicserve.cli.progress import CountProgress
from topicserve.cli.standard_streams import need_output, write_output
from topicserve.cli.terminal import json_line, say
from topicserve.exit_codes import EXIT_FAILED
from topicserve.producer.arguments import topic_name
from topicserve.producer.result_reader import DeadLetterReader, header_filter, open_consumer
from topicserve.producer.topic_reader import OnInvalid, TopicReader
from topicserve.wire.dead_letter import DeadLetter
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.kafka_record import KafkaRecord
from topicserve.wire.result import RESULT_KEYS, MetadataStatus, Result, decode_result
from topicserve.wire.shadow_record import ShadowRecord, decode_shadow_record, is_shadow_record

EXAMPLE = "example: topicserve results --topic results --servable digits --limit 10"
DEFAULT_TIMEOUT_SECONDS = 30.0
# How much may be printed again after an end that no one could commit before.
ROUND_RECORDS = 1000
ROUND_SECONDS = 1.0
MAX_TOLD = 10

Item = Result | ShadowRecord | DeadLetter
AnyReader = TopicReader[Result] | TopicReader[Result | ShadowRecord] | TopicReader[DeadLetter]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.epilog = EXAMPLE
    parser.add_argument("--topic", required=True, metavar="T", help="where the results are")
    add_kafka_arguments(parser)
    parser.add_argument(
        "--group",
        metavar="G",
        help="go on where this group left off, and commit; without it, read from the beginning",
    )
    parser.add_argument("--follow", action="store_true", help="wait for more, until Ctrl-C")
    parser.add_argument("--limit", type=count("--limit"), metavar="N", help="end after so many")
    parser.add_argument(
        "--timeout-seconds",
        type=seconds("--timeout-seconds"),
        metavar="S",
        help="end when nothing came for so long (30; with --follow, never)",
    )
    parser.add_argument(
        "--servable",
        metavar="NAME",
        help="only results of this servable, or dead letters of records that name it (ce_servable)",
    )
    parser.add_argument("--version", type=int, metavar="N", help="only results of this version")
    parser.add_argument(
        "--metadata-status",
        choices=[status.value for status in MetadataStatus],
        help="only results whose metadata was found, missing, or declared absent",
    )
    parser.add_argument(
        "--allow-dataref",
        action="append",
        default=[],
        metavar="URL",
        help="read results that lie elsewhere under this URL (ce_dataref); may be repeated",
    )
    parser.add_argument(
        "--dead-letters", action="store_true", help="the topic holds dead letters, not results"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print what the topic holds, and with --follow what comes.

    The exit code is 1 where a record could not be read: those are passed over, and the first ten
    told.
    """
    need_output()
    topic_name(arguments.topic)
    refuse_other_filters(arguments)
    need_topic(arguments, arguments.topic)
    invalid = InvalidRecords()
    with open_reader(arguments, invalid.tell) as reader, CountProgress("read") as progress:
        print_lines(arguments, reader, progress)
    return EXIT_FAILED if invalid.count else 0


def refuse_other_filters(arguments: argparse.Namespace) -> None:
    """Raise UsageError for a filter by something that no dead letter has."""
    if not arguments.dead_letters:
        return
    for flag, value in (
        ("--version", arguments.version),
        ("--metadata-status", arguments.metadata_status),
    ):
        if value is not None:
            raise UsageError(
                f"{flag}: dead letters have none, since nothing was predicted; "
                "leave it out with --dead-letters"
            )


def open_reader(arguments: argparse.Namespace, on_invalid: OnInvalid) -> AnyReader:
    """Return the reader that the flags ask for."""
    consumer = open_consumer(
        arguments.bootstrap_servers, arguments.group, arguments.client, kafka_settings(arguments)
    )
    if arguments.dead_letters:
        return DeadLetterReader(
            consumer, arguments.topic, servable=arguments.servable, on_invalid=on_invalid
        )
    is_wanted = header_filter(arguments.servable, arguments.version, arguments.metadata_status)
    bodies = BodyReader(arguments.allow_dataref) if arguments.allow_dataref else None

    def decode(record: KafkaRecord) -> Result | ShadowRecord | None:
        if not is_wanted(record):
            return None
        if is_shadow_record(record):
            return decode_shadow_record(record)
        return decode_result(record if bodies is None else bodies.follow(record))

    return TopicReader[Result | ShadowRecord](
        consumer, arguments.topic, decode, on_invalid=on_invalid
    )


def print_lines(
    arguments: argparse.Namespace,
    reader: AnyReader,
    progress: CountProgress,
) -> None:
    """Print in rounds: what a round has printed is committed before the next begins.

    So with --group a command that is killed prints one round again at most (1,000 lines), and none
    is lost.
    """
    follow, limit, timeout_seconds = arguments.follow, arguments.limit, arguments.timeout_seconds
    endless = follow and timeout_seconds is None
    if timeout_seconds is None:
        timeout_seconds = ROUND_SECONDS if follow else DEFAULT_TIMEOUT_SECONDS
    while True:
        wanted = ROUND_RECORDS if limit is None else min(ROUND_RECORDS, limit - progress.count)
        before = progress.count
        for item in reader.read(
            limit=wanted, timeout_seconds=timeout_seconds, until_end=not follow
        ):
            write_output(line_of(item), flush=follow)
            progress.advance()
        write_output(b"", flush=True)
        if arguments.group:
            # Refused when the partitions have gone: their new owner prints these again.
            with suppress(CommitRefusedError):
                reader.commit()
        if progress.count == limit or (progress.count - before < wanted and not endless):
            return


def line_of(item: Item) -> bytes:
    """Return one line of JSON."""
    if isinstance(item, Result):
        content = result_object(item)
    elif isinstance(item, ShadowRecord):
        content = shadow_object(item)
    else:
        content = dead_letter_object(item)
    return json_line(content) + b"\n"


def result_object(result: Result) -> dict[str, Any]:
    """Return a result as its JSON body has it, with the worker and its place in the topic."""
    return {
        "id": result.record_id,
        "servable": {"name": result.servable, "version": result.version},
        "signature_name": result.signature_name,
        RESULT_KEYS.get(result.form, "outputs"): result.value,
        "metadata": result.metadata,
        "metadata_status": result.metadata_status.value,
        "worker": result.worker_id,
        **place_of(result.record),
    }


def shadow_object(item: ShadowRecord) -> dict[str, Any]:
    """Return what both versions said, with the record's place in the topic."""
    return {
        "id": item.record_id,
        "primary": item.primary,
        "shadow": item.shadow,
        **place_of(item.record),
    }


def dead_letter_object(letter: DeadLetter) -> dict[str, Any]:
    """Return why a record was given up, and the record; what is not text is base64."""
    return {
        "reason": letter.reason.value,
        "message": letter.message,
        "exception": letter.exception,
        **({"truncated": letter.truncated} if letter.truncated else {}),
        "topic": letter.record.topic,
        **place_of(letter.record),
        "headers": [[name, text_or_bytes(value)] for name, value in letter.record.headers],
        "value": text_or_bytes(letter.record.value),
    }


def place_of(record: KafkaRecord) -> dict[str, Any]:
    """Return where a record is and what Kafka knows of it."""
    return {
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        "key": text_or_bytes(record.key),
    }


def text_or_bytes(value: bytes | None) -> str | bytes | None:
    """Return text where it is text; bytes that are not UTF-8 become base64 in the line."""
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return value


class InvalidRecords:
    """Counts records that cannot be read, and tells of the first ones."""

    def __init__(self) -> None:
        self.count = 0

    def tell(self, record: KafkaRecord, error: InvalidRecordError) -> None:
        """Say on standard error where the record is and what is wrong with it."""
        self.count += 1
        if self.count <= MAX_TOLD:
            place = f"{record.topic}-{record.partition} offset {record.offset}"
            say(f"passed over {place}: {error}")
