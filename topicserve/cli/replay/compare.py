"""Reads the topics of a comparison, and writes its differences to a file."""

import argparse
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path

from topicserve.backends.broker import OffsetsAdmin
from topicserve.backends.errors import BackendUnavailableError
from topicserve.backends.references.body_reader import BodyNotAllowedError, BodyReader, refers
from topicserve.cli import connection
from topicserve.cli.dead_letters.scan import Scan
from topicserve.cli.dead_letters.topic import DEFAULT_TIMEOUT_SECONDS, ends_of
from topicserve.cli.errors import UsageError
from topicserve.cli.replay.comparison import Comparison, compare
from topicserve.cli.replay.replayed import Replayed
from topicserve.producer.result_reader import open_consumer
from topicserve.wire import header_names as names
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.kafka_record import KafkaRecord, TopicPartition
from topicserve.worker.config.schema import WorkerConfig
from topicserve.worker.replay.progress_note import Ranges

MAX_UNAVAILABLE = 3


def check_comparison(arguments: argparse.Namespace, live_topic: str, admin: OffsetsAdmin) -> None:
    """Raise UsageError for what would end a comparison after all the work before it.

    A file that has something in it is overwritten with --force alone; a replay that did not come to
    its end has left it empty.
    """
    path: Path = arguments.compare
    if not live_topic:
        raise UsageError("--compare: --live-topic must name where the published results are")
    if admin.partitions(live_topic, connection.REACH_SECONDS) is None:
        raise UsageError(f"--compare: there is no topic {live_topic!r} to compare with")
    if str(path) == "-":
        raise UsageError("--compare: standard output is for the account; name a file")
    try:
        if arguments.config is not None and _is_same(path, arguments.config):
            raise UsageError("--compare: is the file of --config; name another file")
        if not arguments.force and path.is_file() and path.stat().st_size:
            raise UsageError(
                f"--compare: {path} exists; name another file, or overwrite it with --force"
            )
        path.open("ab").close()
    except OSError as error:
        raise UsageError(f"--compare: {path}: {error.strerror}; name another file") from error


def _is_same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)


def compare_with_live(
    path: Path, live_topic: str, config: WorkerConfig, ranges: Ranges, admin: OffsetsAdmin
) -> Comparison:
    """Write the differences to a file, a line of JSON each, and return the counts.

    Reads the replay's two topics and the live one to the ends that they have now, and the results
    that are stored elsewhere. What cannot be read is counted. Raises BackendError where the brokers
    do not answer.
    """
    topics, dataref = config.topics, config.dataref
    follow = StoredResults([*filter(None, [dataref.results]), *dataref.allow]).follow
    with closing(Replayed(config.kafka.group_id, ranges)) as replayed, path.open("wb") as file:
        replayed.add_results(_all_of(config, topics.output, admin), follow)
        replayed.add_dead_letters(_all_of(config, config.dead_letter_topic, admin))
        return compare(replayed, _all_of(config, live_topic, admin), file, follow)


class StoredResults:
    """Reads results that are stored elsewhere, and gives a store up that does not answer.

    Each result is waited for as a reader waits; once MAX_UNAVAILABLE of them in a row could not be
    read, the others are not asked for: a comparison would take days where a store is away.
    """

    def __init__(self, allow: Sequence[str], bodies: BodyReader | None = None) -> None:
        self._bodies = bodies or BodyReader(allow)
        self._unavailable = 0

    def follow(self, record: KafkaRecord) -> KafkaRecord:
        """Return a record with its body; raises InvalidRecordError for one that cannot be read."""
        if not refers(record):
            return record
        if self._unavailable >= MAX_UNAVAILABLE:
            problem = f"not read, since {MAX_UNAVAILABLE} results in a row could not be read"
            raise InvalidRecordError(names.DATAREF, problem)
        try:
            found = self._bodies.follow(record)
        except BackendUnavailableError as error:
            self._unavailable += 1
            raise InvalidRecordError(names.DATAREF, str(error)) from None
        except BodyNotAllowedError as error:
            problem = f"{error.problem}; name its place in dataref.results or dataref.allow"
            raise InvalidRecordError(names.DATAREF, problem) from None
        self._unavailable = 0
        return found


def _all_of(config: WorkerConfig, topic: str, admin: OffsetsAdmin) -> Generator[KafkaRecord]:
    """Yield all that a topic has now, for readers of committed records."""
    count = admin.partitions(topic, connection.REACH_SECONDS) or 0
    partitions = [TopicPartition(topic, number) for number in range(count)]
    ends = ends_of(admin.log_offsets(partitions, connection.REACH_SECONDS))
    kafka = config.kafka
    consumer = open_consumer(kafka.bootstrap_servers, None, kafka.client.value, kafka.settings)
    try:
        for records in Scan(consumer, topic, ends, timeout_seconds=DEFAULT_TIMEOUT_SECONDS).read():
            yield from records
    finally:
        consumer.close(connection.REACH_SECONDS)
