import argparse
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.support.kafka.kafka_doubles import MemoryLog, MemoryProducer
from tests.support.stages.dead_letters import DEAD, a_dead_record
from tests.support.stages.fakes import MemoryMetadataStore
from tests.support.stages.records import ManualClock, an_id
from topicserve.backends.errors import (
    AuthenticationError,
    BackendError,
    RecordTooLargeError,
    TransactionAbortedError,
)
from topicserve.cli.dead_letters.account import Account, Skip
from topicserve.cli.dead_letters.execution import DryRun, Execution
from topicserve.cli.dead_letters.filters import Filter, add_filter_arguments
from topicserve.cli.dead_letters.publishing import TransactionalPublisher
from topicserve.cli.dead_letters.replayed import ReplayedOffsets
from topicserve.cli.dead_letters.selection import Rules, Selection
from topicserve.cli.pace import Pace
from topicserve.wire.dead_letter import ATTEMPT_HEADER, Reason
from topicserve.wire.kafka_record import KafkaRecord, OutgoingRecord

NOW = datetime(2026, 11, 28, tzinfo=UTC)


class Setup:
    """A dead-letter topic, a log to publish to, and a store; each run is a new process."""

    def __init__(self, *records: KafkaRecord) -> None:
        self.records = records
        self.log = MemoryLog()
        self.producer = MemoryProducer(self.log)
        self.store = MemoryMetadataStore()
        self.store.content = {an_id(record.offset): b"{}" for record in records}
        self.sleeps: list[float] = []

    def selection(self, *flags: str, to: str | None = None, skips: bool = True) -> Selection:
        """Return what is selected, from what the group has committed on."""
        parser = argparse.ArgumentParser()
        add_filter_arguments(parser)
        committed = self.log.committed.get(DEAD)
        self.replayed = {DEAD: ReplayedOffsets.of(committed, 0)}
        rules = Rules(
            wanted=Filter(parser.parse_args(flags)),
            max_attempts=3,
            to=to,
            partitions_of={"in": 1}.get,
            skips_missing_metadata=skips,
            store=lambda: self.store,
            now=lambda: NOW,
        )
        selection = Selection(rules, self.replayed)
        selection.start(DEAD)
        return selection

    def polled(self, size: int = 3) -> Iterator[list[KafkaRecord]]:
        """Yield what a consumer polls from the committed offset on."""
        start = self.replayed[DEAD].base
        left = [record for record in self.records if record.offset >= start]
        for index in range(0, len(left), size):
            yield left[index : index + size]

    def replay(
        self, *flags: str, limit: int | None = None, rate: float | None = None, size: int = 2
    ) -> Account:
        """Replay with these flags, and return the account, also where it ends with an error."""
        account, clock = Account(), ManualClock()

        def sleep(seconds: float) -> None:
            self.sleeps.append(seconds)
            clock.advance(seconds)

        execution = Execution(
            self.selection(*flags),
            account,
            self.replayed,
            TransactionalPublisher(self.producer, lambda: "group", clock=clock),
            limit=limit,
            slice_records=size,
            pace=Pace(rate, clock, sleep),
        )
        self.error: BackendError | None = None
        try:
            execution.run(self.polled())
        except BackendError as error:
            self.error = error
        return account

    def ids(self) -> Counter[str]:
        """Return how often each id was published."""
        return Counter(self.log.ids())


def dry_run(setup: Setup, *flags: str, limit: int | None = None, skips: bool = True) -> Account:
    """Return what a replay would do."""
    account = Account()
    DryRun(setup.selection(*flags, skips=skips), account, limit).run(setup.polled())
    return account


def mixed() -> Setup:
    """Return a topic with a dead letter of every kind, and one of each that is replayed."""
    setup = Setup(
        a_dead_record(0),
        a_dead_record(1, truncated="value=9"),
        a_dead_record(2, headers=[(ATTEMPT_HEADER, b"3")]),
        a_dead_record(3, headers=[("ce_expirytime", b"2026-11-27T23:59:59Z")]),
        a_dead_record(4, topic="no.such"),
        a_dead_record(5),
        a_dead_record(6, headers=[("ce_metadata", b"absent")]),
        KafkaRecord("dead", 0, 7, 0, None, None, []),
        a_dead_record(8, Reason.TIMED_OUT),
        a_dead_record(9, headers=[(ATTEMPT_HEADER, b"2")]),
        a_dead_record(10, topic="dead"),
    )
    del setup.store.content[an_id(5)], setup.store.content[an_id(6)]
    return setup


def test_the_account_says_what_became_of_each() -> None:
    """Dry and done, the numbers are the same, and add up."""
    setup = mixed()
    planned = dry_run(setup, "--reason=invalid_input")
    done = setup.replay("--reason=invalid_input")

    for account in (planned, done):
        assert account.content(is_dry_run=False) == {
            "dry_run": False,
            "read": 11,
            "published": 3,
            "failed": 0,
            "skipped": 8,
            "published_by_topic": {"in": 3},
            "failed_by_error": {},
            "skipped_by_reason": {
                "topic_missing": 2,
                "incomplete": 1,
                "max_attempts": 1,
                "deadline_passed": 1,
                "metadata_missing": 1,
                "not_a_dead_letter": 1,
                "not_wanted": 1,
            },
            "without_metadata": 0,
        }
    assert setup.log.ids() == [an_id(0), an_id(6), an_id(9)]
    assert dict(setup.log.published[2].headers)[ATTEMPT_HEADER] == b"3"


def test_missing_metadata_is_told_before_it_is_replayed() -> None:
    """In the dry run, also where it is to be replayed all the same."""
    assert dry_run(mixed()).skipped[Skip.METADATA_MISSING] == 1
    assert dry_run(mixed(), skips=False).without_metadata == 1


def test_a_dry_run_publishes_and_commits_nothing() -> None:
    """It asks no more than the store."""
    setup = mixed()

    dry_run(setup)

    assert (setup.log.published, setup.log.committed) == ([], {})


def test_what_filters_leave_out_is_replayed_later_and_nothing_twice() -> None:
    """The group knows each record, not only how far it came."""
    reasons = [Reason.TIMED_OUT if offset % 2 else Reason.INVALID_INPUT for offset in range(9)]
    setup = Setup(*(a_dead_record(offset, reason) for offset, reason in enumerate(reasons)))

    first = setup.replay("--reason=timed_out")
    between = setup.log.committed[DEAD]
    second = setup.replay()
    third = setup.replay()

    assert (first.published.total(), second.published.total(), third.read) == (4, 5, 0)
    assert (between, between.metadata) == (0, "replayed1 1+1,1+1,1+1,1+1")  # type: ignore[attr-defined]
    assert second.skipped == {Skip.REPLAYED_BEFORE: 4}
    assert set(setup.ids().values()) == {1}
    assert setup.log.committed[DEAD] == 9


def test_a_limit_ends_a_replay_that_the_next_one_goes_on_with() -> None:
    """In the middle of what was polled."""
    setup = Setup(*(a_dead_record(offset) for offset in range(8)))

    assert dry_run(setup, limit=5).published.total() == 5
    assert setup.replay(limit=5).published.total() == 5
    assert setup.log.committed[DEAD] == 5
    assert setup.replay(limit=5).published.total() == 3
    assert setup.log.ids() == [an_id(offset) for offset in range(8)]


def test_a_rate_is_kept() -> None:
    """Two at a time, ten a second: a fifth of a second between."""
    setup = Setup(*(a_dead_record(offset) for offset in range(6)))

    setup.replay(rate=10)

    # Three are polled at a time: slices of 2, 1, 2, 1.
    assert setup.sleeps == pytest.approx([0.2, 0.1, 0.2])


def test_records_go_to_the_partition_that_they_came_from() -> None:
    """Their producer may have chosen it; one that is gone leaves it to the key."""
    setup = Setup(a_dead_record(0), a_dead_record(1))
    moved = a_dead_record(1, partition=DEAD, headers=[("x", b"y")])
    gone = [
        (n, b"\0\0\0\7" if n == "kafka_dlt-original-partition" else v) for n, v in moved.headers
    ]
    records = [a_dead_record(0), replace(moved, headers=gone)]

    originals = [d.outgoing for d in setup.selection().decide(records)]
    elsewhere = [d.outgoing for d in setup.selection(to="elsewhere").decide(records)]

    assert [(sent.topic, sent.partition) for sent in originals if sent] == [("in", 0), ("in", None)]
    assert [(s.topic, s.partition) for s in elsewhere if s] == [("elsewhere", None)] * 2


def test_a_refused_record_fails_alone() -> None:
    """The others of its transaction are published, and it is tried at the next replay."""
    setup = Setup(*(a_dead_record(offset) for offset in range(4)))
    setup.producer.fail_send = lambda record: (
        RecordTooLargeError("larger than 1 MiB") if ids_of(record) == an_id(1) else None
    )

    account = setup.replay()

    assert setup.log.ids() == [an_id(0), an_id(2), an_id(3)]
    assert account.failed == {"larger than 1 MiB": 1}
    assert account.read == 4
    assert setup.log.committed[DEAD] == 1
    setup.producer.fail_send = lambda _: None
    assert setup.replay().published.total() == 1
    assert set(setup.ids().values()) == {1}


def ids_of(record: OutgoingRecord) -> str:
    """Return the id in a record's header."""
    return (dict(record.headers)["ce_id"] or b"").decode()


def test_an_error_ends_the_replay_and_the_account_adds_up() -> None:
    """What was on its way counts as failed, and is not committed."""
    setup = Setup(*(a_dead_record(offset) for offset in range(6)))
    setup.producer.fail_send = lambda record: (
        AuthenticationError("denied") if ids_of(record) == an_id(3) else None
    )

    account = setup.replay()

    assert isinstance(setup.error, AuthenticationError)
    assert (account.published.total(), account.failed, account.read) == (3, {"denied": 2}, 5)
    assert setup.log.committed[DEAD] == 3


@given(
    reasons=st.lists(st.sampled_from([Reason.TIMED_OUT, Reason.INVALID_INPUT]), max_size=12),
    runs=st.lists(st.tuples(st.booleans(), st.integers(1, 4), st.integers(1, 4)), max_size=4),
)
def test_whatever_is_interrupted_is_replayed_once(
    reasons: list[Reason], runs: list[tuple[bool, int, int]]
) -> None:
    """Runs with filters that fail at any commit, then one that goes through."""
    setup = Setup(*(a_dead_record(offset, reason) for offset, reason in enumerate(reasons)))
    for is_filtered, good_commits, size in runs:
        commits = iter([None] * good_commits)

        def fail_commit(left: Iterator[None] = commits) -> BackendError | None:
            return next(left, TransactionAbortedError("aborted"))

        setup.producer = MemoryProducer(setup.log)  # a new process takes the transactions over
        setup.producer.fail_commit = fail_commit
        account = setup.replay(*(["--reason=timed_out"] if is_filtered else []), size=size)
        content = account.content(is_dry_run=False)
        assert content["read"] == content["published"] + content["failed"] + content["skipped"]
    setup.producer = MemoryProducer(setup.log)

    setup.replay()

    assert setup.ids() == Counter(an_id(offset) for offset in range(len(reasons)))
