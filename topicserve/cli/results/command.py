"""Reads a topic with the filters and limits that are typed, and prints it in rounds."""

import argparse
from collections.abc import Iterator
from contextlib import suppress

from topicserve.backends.errors import BackendConfigError, BackendError, CommitRefusedError
from topicserve.backends.references.body_reader import DEFAULT_MAX_BYTES as BODY_MAX_BYTES
from topicserve.backends.references.body_reader import (
    DEFAULT_TIMEOUT_SECONDS as BODY_TIMEOUT_SECONDS,
)
from topicserve.backends.references.body_reader import BodyNotAllowedError, BodyReader, refers
from topicserve.cli.argument_types import count, seconds
from topicserve.cli.connection import add_kafka_arguments, kafka_settings, need_topic
from topicserve.cli.errors import UsageError
from topicserve.cli.progress import CountProgress
from topicserve.cli.results.lines import Item, line_of
from topicserve.cli.results.unread import MAX_UNAVAILABLE, UnreadResults
from topicserve.cli.standard_streams import need_output, write_output
from topicserve.exit_codes import EXIT_FAILED
from topicserve.producer.arguments import topic_name
from topicserve.producer.result_reader import DeadLetterReader, header_filter, open_consumer
from topicserve.producer.topic_reader import TopicReader
from topicserve.wire.dead_letter import DeadLetter
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.kafka_record import KafkaRecord
from topicserve.wire.result import MetadataStatus, Result, decode_result
from topicserve.wire.shadow_record import ShadowRecord, decode_shadow_record, is_shadow_record

EXAMPLE = "example: topicserve results --topic results --servable digits --limit 10"
DEFAULT_TIMEOUT_SECONDS = 30.0
# How much may be printed again after an end that no one could commit before.
ROUND_RECORDS = 1000
ROUND_SECONDS = 1.0

AnyReader = TopicReader[Result] | TopicReader[Result | ShadowRecord] | TopicReader[DeadLetter]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.epilog = EXAMPLE
    parser.add_argument("--topic", required=True, metavar="T", help="where the results are")
    add_kafka_arguments(parser)
    parser.add_argument(
        "--group",
        metavar="G",
        help="go on where this group left off; commit after 1,000 lines or a second without any: "
        "what is printed after that comes again after Ctrl-C; without it, read from the beginning",
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
        "--dataref-timeout-seconds",
        type=seconds("--dataref-timeout-seconds"),
        default=BODY_TIMEOUT_SECONDS,
        metavar="S",
        help=f"how long to try to read one of these ({BODY_TIMEOUT_SECONDS:g})",
    )
    parser.add_argument(
        "--dataref-max-bytes",
        type=count("--dataref-max-bytes"),
        default=BODY_MAX_BYTES,
        metavar="N",
        help=f"how large one of these may be ({BODY_MAX_BYTES:,})",
    )
    parser.add_argument(
        "--skip-unavailable",
        action="store_true",
        help="pass over results that cannot be read in this time, and end with the exit code 1; "
        f"{MAX_UNAVAILABLE} in a row end the command",
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
    unread = UnreadResults(skips_unavailable=arguments.skip_unavailable)
    with open_reader(arguments, unread) as reader, CountProgress("read") as progress:
        print_lines(arguments, reader, progress)
    return EXIT_FAILED if unread.count else 0


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


def open_reader(arguments: argparse.Namespace, unread: UnreadResults) -> AnyReader:
    """Return the reader that the flags ask for."""
    consumer = open_consumer(
        arguments.bootstrap_servers, arguments.group, arguments.client, kafka_settings(arguments)
    )
    if arguments.dead_letters:
        return DeadLetterReader(
            consumer, arguments.topic, servable=arguments.servable, on_invalid=unread.tell
        )
    is_wanted = header_filter(arguments.servable, arguments.version, arguments.metadata_status)
    bodies = body_reader(arguments)

    def decode(record: KafkaRecord) -> Result | ShadowRecord | None:
        if not is_wanted(record):
            return None
        if is_shadow_record(record):
            return decode_shadow_record(record)
        return decode_result(follow(record) if refers(record) else record)

    def follow(record: KafkaRecord) -> KafkaRecord:
        try:
            found = bodies.follow(record)
        except BodyNotAllowedError as error:
            raise InvalidRecordError(
                error.field, f"{error.problem}; allow it with --allow-dataref"
            ) from None
        unread.in_a_row = 0
        return found

    return TopicReader[Result | ShadowRecord](
        consumer,
        arguments.topic,
        decode,
        on_invalid=unread.tell,
        on_unavailable=unread.tell_unavailable,
    )


def body_reader(arguments: argparse.Namespace) -> BodyReader:
    """Return what reads stored results; raises UsageError naming the flag that is wrong."""
    try:
        return BodyReader(
            arguments.allow_dataref,
            max_bytes=arguments.dataref_max_bytes,
            timeout_seconds=arguments.dataref_timeout_seconds,
        )
    except BackendConfigError as error:
        raise UsageError(f"--allow-dataref: {str(error).removeprefix('allow: ')}") from None


def print_lines(
    arguments: argparse.Namespace,
    reader: AnyReader,
    progress: CountProgress,
) -> None:
    """Print in rounds: what a round has printed is committed before the next begins.

    So with --group a command that is killed prints one round again at most (1,000 lines), and none
    is lost. One that ends because something cannot be read prints nothing again.
    """
    follow, limit, timeout_seconds = arguments.follow, arguments.limit, arguments.timeout_seconds
    endless = follow and timeout_seconds is None
    if timeout_seconds is None:
        timeout_seconds = ROUND_SECONDS if follow else DEFAULT_TIMEOUT_SECONDS
    while True:
        wanted = ROUND_RECORDS if limit is None else min(ROUND_RECORDS, limit - progress.count)
        before = progress.count
        items = reader.read(limit=wanted, timeout_seconds=timeout_seconds, until_end=not follow)
        for item in committed_at_errors(items, reader, arguments.group):
            write_output(line_of(item), flush=follow)
            progress.advance()
        commit_printed(reader, arguments.group)
        if progress.count == limit or (progress.count - before < wanted and not endless):
            return


def committed_at_errors(
    items: Iterator[Item], reader: AnyReader, group: str | None
) -> Iterator[Item]:
    """Yield what is read; where reading raises, commit before that what has been printed.

    What printing raises does not come here: then it is not known how much of it was written.
    """
    try:
        yield from items
    except Exception:
        with suppress(BackendError):  # the first error is the one to tell
            commit_printed(reader, group)
        raise


def commit_printed(reader: AnyReader, group: str | None) -> None:
    """Write out what is printed, and commit it for the group, along with what was passed over."""
    write_output(b"", flush=True)
    if group:
        # Refused when the partitions have gone: their new owner prints these again.
        with suppress(CommitRefusedError):
            reader.commit()
