"""`topicserve dead-letters replay`: publish dead letters to the topics that they came from."""

import argparse
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager
from typing import Protocol, TypeVar

from topicserve.backends.broker import Consumer, LogOffsets, Offsets, Producer
from topicserve.backends.errors import CommitRefusedError, FencedError
from topicserve.backends.metadata_store import MetadataStore
from topicserve.backends.redis_store import RedisMetadataStore
from topicserve.cli import connection
from topicserve.cli.connection import (
    kafka_settings,
    need_store,
    open_broker_of,
    partitions_of,
)
from topicserve.cli.dead_letters.account import Account
from topicserve.cli.dead_letters.execution import DryRun, Execution, Replayed
from topicserve.cli.dead_letters.filters import Filter, check_filters
from topicserve.cli.dead_letters.publishing import TRANSACTION_TIMEOUT_MS, TransactionalPublisher
from topicserve.cli.dead_letters.replay_flags import add_arguments
from topicserve.cli.dead_letters.replayed import ReplayedOffsets
from topicserve.cli.dead_letters.scan import MAX_POLL_RECORDS, Scan
from topicserve.cli.dead_letters.selection import Rules, Selection
from topicserve.cli.dead_letters.topic import check_group, ends_of, log_offsets_of
from topicserve.cli.errors import UsageError
from topicserve.cli.pace import Pace
from topicserve.cli.progress import CountProgress
from topicserve.cli.standard_streams import need_output, write_output
from topicserve.cli.terminal import say, write_json, write_line
from topicserve.exit_codes import EXIT_FAILED
from topicserve.producer.arguments import topic_name
from topicserve.producer.result_reader import open_consumer
from topicserve.wire.kafka_record import TopicPartition

__all__ = ["EXAMPLE", "add_arguments", "run"]

EXAMPLE = (
    "example: topicserve dead-letters replay --topic digits.dead-letter "
    "--reason metadata_missing --yes"
)
# A member that does not poll for max.poll.interval.ms (5 minutes) leaves its group.
_POLLED_SECONDS = 60.0


def run(arguments: argparse.Namespace) -> int:
    """Count what would be published, and with --yes publish it.

    The exit code is 1 where a record could not be published, 2 where another replay of the same
    group runs. The account is printed however it ends.
    """
    need_output()
    with closing(Replay(arguments)) as replay:
        planned = replay.plan()
        if not arguments.yes:
            _print(arguments, planned, is_dry_run=True)
            say("this was a dry run: nothing was published; publish with --yes")
            return 0
        if not planned.published:
            _print(arguments, planned, is_dry_run=False)
            return 0
        # Before anything is published: what has lost its metadata, above all.
        for line in planned.lines(is_dry_run=True):
            say(line)
        return _publish(arguments, replay, planned.published.total())


def _publish(arguments: argparse.Namespace, replay: "Replay", total: int) -> int:
    account = Account()
    try:
        replay.execute(account, total)
    except (FencedError, CommitRefusedError) as error:
        raise UsageError(f"--group: another replay of {replay.group} runs: {error}") from error
    finally:
        _print(arguments, account, is_dry_run=False)
    return EXIT_FAILED if account.failed else 0


class Replay:
    """Both passes: they read the same records, up to the same ends.

    `plan` reads outside of the group and writes nothing. `execute` is a member of the group: a
    second replay of the same group gets no partition, or fences this one.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self.group = arguments.group or f"topicserve-replay-{arguments.topic}"
        self._log = log_offsets_of(arguments)
        check_filters(arguments, self._log)
        self._ends = ends_of(self._log)
        self._check_target()
        check_group(arguments, self.group)
        self._store: MetadataStore | None = None
        self._store_answers = False
        if arguments.missing_metadata != "unchecked":
            self._store = RedisMetadataStore(arguments.redis_url, key_prefix=arguments.key_prefix)
        self._rules = Rules(
            wanted=Filter(arguments),
            max_attempts=arguments.max_attempts,
            to=arguments.to,
            partitions_of=lambda topic: partitions_of(arguments, topic),
            skips_missing_metadata=arguments.missing_metadata == "skip",
            store=None if self._store is None else self._answering_store,
        )

    def plan(self) -> Account:
        """Return what a replay would do, without joining the group or writing anything.

        It asks the group what was replayed, and reads the topic as a dry run.
        """
        with _closing(self._member()) as member:
            replayed = self._replayed(member, sorted(self._log), is_again=self._arguments.again)
        selection, account = Selection(self._rules, replayed), Account()

        def starts(new: Sequence[TopicPartition]) -> Offsets:
            for partition in new:
                selection.start(partition)
            return {partition: replayed[partition].base for partition in new}

        reader = open_consumer(
            self._arguments.bootstrap_servers,
            None,
            self._arguments.client,
            kafka_settings(self._arguments),
        )
        with _closing(reader):
            dry_run = DryRun(selection, account, self._arguments.limit)
            dry_run.run(self._scan(reader, starts).read())
        return account

    def execute(self, account: Account, total: int) -> None:
        """Publish, and count in the account as it goes; `total` is what was planned.

        Raises FencedError or CommitRefusedError where another replay of the group took over,
        BackendError where a broker or the store is away for too long. What was committed by then
        stays so.
        """
        replayed: Replayed = {}
        selection = Selection(self._rules, replayed)
        with (
            _closing(self._member()) as member,
            _closing(self._producer()) as producer,
            CountProgress("replayed", total=total) as progress,
        ):
            execution = Execution(
                selection,
                account,
                replayed,
                TransactionalPublisher(producer, member.group_metadata),
                limit=self._arguments.limit,
                slice_records=self._records_in(1.0),
                pace=Pace(self._arguments.rate),
                on_published=progress.advance,
            )
            starts = self._starts(member, replayed, selection)
            execution.run(self._scan(member, starts).read())

    def close(self) -> None:
        """Close the connection to the store."""
        if self._store is not None:
            self._store.close()

    def _starts(
        self, member: Consumer, replayed: Replayed, selection: Selection
    ) -> Callable[[Sequence[TopicPartition]], Offsets]:
        begun: set[TopicPartition] = set()

        def starts(new: Sequence[TopicPartition]) -> Offsets:
            for partition in new:
                # Only once: what comes back after a rebalance was begun by this replay.
                is_again = self._arguments.again and partition not in begun
                replayed.update(self._replayed(member, [partition], is_again=is_again))
                begun.add(partition)
                selection.start(partition)
            return {partition: replayed[partition].base for partition in new}

        return starts

    def _replayed(
        self, member: Consumer, partitions: Sequence[TopicPartition], *, is_again: bool
    ) -> Replayed:
        """Return what the group has replayed of each partition."""
        logs = {p: self._log.get(p, LogOffsets(0, 0)) for p in partitions}
        if is_again:
            return {p: ReplayedOffsets(log.start) for p, log in logs.items()}
        committed = member.committed(partitions, connection.REACH_SECONDS)
        return {p: ReplayedOffsets.of(committed.get(p), log.start) for p, log in logs.items()}

    def _scan(
        self, consumer: Consumer, starts: Callable[[Sequence[TopicPartition]], Offsets]
    ) -> Scan:
        return Scan(
            consumer,
            self._arguments.topic,
            self._ends,
            timeout_seconds=self._arguments.timeout_seconds,
            starts=starts,
            max_poll_records=self._records_in(_POLLED_SECONDS),
        )

    def _records_in(self, seconds: float) -> int:
        """Return how many records may be published in so many seconds, within bounds."""
        rate = self._arguments.rate
        return (
            MAX_POLL_RECORDS if rate is None else max(1, min(MAX_POLL_RECORDS, int(rate * seconds)))
        )

    def _member(self) -> Consumer:
        return open_consumer(
            self._arguments.bootstrap_servers,
            self.group,
            self._arguments.client,
            kafka_settings(self._arguments),
        )

    def _producer(self) -> Producer:
        return open_broker_of(self._arguments).producer(
            {"transactional.id": self.group, "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS}
        )

    def _check_target(self) -> None:
        target = self._arguments.to
        if target is None:
            return
        if topic_name(target) == self._arguments.topic:
            raise UsageError("--to: is the dead-letter topic itself; name another topic")
        if partitions_of(self._arguments, target) is None:
            raise UsageError(
                f"--to: there is no topic {target!r} at {self._arguments.bootstrap_servers}; "
                "correct the name, or create the topic"
            )

    def _answering_store(self) -> MetadataStore:
        """Return the store; UsageError where no one answers."""
        assert self._store is not None
        if not self._store_answers:
            need_store(self._arguments, self._store)
            self._store_answers = True
        return self._store


def _print(arguments: argparse.Namespace, account: Account, *, is_dry_run: bool) -> None:
    if arguments.json:
        write_json(account.content(is_dry_run=is_dry_run), flush=True)
        return
    for line in account.lines(is_dry_run=is_dry_run):
        write_line(line)
    write_output(b"", flush=True)


class _Closable(Protocol):
    def close(self, timeout_seconds: float) -> None: ...


C = TypeVar("C", bound=_Closable)


@contextmanager
def _closing(client: C) -> Generator[C]:
    try:
        yield client
    finally:
        client.close(connection.REACH_SECONDS)
