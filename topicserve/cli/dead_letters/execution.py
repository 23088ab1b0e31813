"""One pass over dead letters: a dry run that only counts, or one that publishes."""

from collections.abc import Callable, Iterable, Sequence

from topicserve.backends.broker import Offsets
from topicserve.backends.errors import BackendError
from topicserve.cli.dead_letters.account import Account, Skip
from topicserve.cli.dead_letters.publishing import Errors, TransactionalPublisher
from topicserve.cli.dead_letters.replayed import ReplayedOffsets
from topicserve.cli.dead_letters.selection import Decision, Selection
from topicserve.cli.errors import UsageError
from topicserve.cli.pace import Pace
from topicserve.wire.kafka_record import KafkaRecord, TopicPartition

Replayed = dict[TopicPartition, ReplayedOffsets]

# They can never be replayed: the group need not read them again.
_PERMANENT = (Skip.NOT_A_DEAD_LETTER, Skip.INCOMPLETE, Skip.REPLAYED_BEFORE)


class DryRun:
    """Counts what a replay would publish."""

    def __init__(self, selection: Selection, account: Account, limit: int | None) -> None:
        self._selection = selection
        self._account = account
        self._limit = limit

    def run(self, polled: Iterable[list[KafkaRecord]]) -> None:
        """Count until the limit, or the end."""
        for records in polled:
            for decision in self._selection.decide(records):
                if self._account.published.total() == self._limit:
                    return
                count(self._account, decision)


class Execution:
    """Publishes in slices; each is committed before the next one begins.

    A slice is one transaction: its records and the offsets that say that they were replayed. A
    failure in between leaves what was committed, so the same command goes on behind it.
    """

    def __init__(
        self,
        selection: Selection,
        account: Account,
        replayed: Replayed,
        publisher: TransactionalPublisher,
        *,
        limit: int | None,
        slice_records: int,
        pace: Pace,
        on_published: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._selection = selection
        self._account = account
        self._replayed = replayed
        self._publisher = publisher
        self._limit = limit
        self._slice_records = slice_records
        self._pace = pace
        self._on_published = on_published

    def run(self, polled: Iterable[list[KafkaRecord]]) -> None:
        """Publish until the limit, or the end.

        What ends it (BackendError, UsageError, Ctrl-C) is raised after its slice was counted as
        failed.
        """
        for records in polled:
            waiting: list[Decision] = []
            wanted = 0
            for decision in self._selection.decide(records):
                if self._account.published.total() + wanted == self._limit:
                    break
                waiting.append(decision)
                wanted += decision.outgoing is not None
                if wanted >= self._slice_records:
                    self._publish(waiting)
                    waiting, wanted = [], 0
            self._publish(waiting)
            if self._account.published.total() == self._limit:
                return

    def _publish(self, decisions: Sequence[Decision]) -> None:
        """Publish a slice, note what was replayed, and count all of it."""
        chosen = [d for d in decisions if d.outgoing is not None]
        records = [d.outgoing for d in chosen if d.outgoing is not None]
        errors: Errors = [None] * len(chosen)
        if records:
            self._pace.wait(len(records))
            try:
                errors = self._publisher.publish(
                    records, lambda found: _offsets(self._after(decisions, chosen, found))
                )
            except (BackendError, UsageError, KeyboardInterrupt) as error:
                for decision in decisions:
                    count(self._account, decision, error)
                raise
        self._replayed.update(self._after(decisions, chosen, errors))
        failures = dict(zip(map(id, chosen), errors, strict=True))
        for decision in decisions:
            count(self._account, decision, failures.get(id(decision)))
        self._on_published(errors.count(None))

    def _after(
        self, decisions: Sequence[Decision], chosen: Sequence[Decision], errors: Errors
    ) -> Replayed:
        """Return what is replayed once these records are committed."""
        failed = {id(d) for d, error in zip(chosen, errors, strict=True) if error is not None}
        after = {d.partition: self._replayed[d.partition].copy() for d in decisions}
        for decision in decisions:
            is_done = decision.skip in _PERMANENT if decision.skip else id(decision) not in failed
            if is_done:
                after[decision.partition].add(decision.record.offset, decision.previous)
        return after


def count(account: Account, decision: Decision, error: BaseException | None = None) -> None:
    """Count one record in the account."""
    if decision.outgoing is None:
        account.skipped[decision.skip or Skip.NOT_WANTED] += 1
    elif error is not None:
        account.failed[" ".join(str(error).split()) or type(error).__name__] += 1
    else:
        account.published[decision.outgoing.topic] += 1
        account.without_metadata += decision.is_without_metadata


def _offsets(replayed: Replayed) -> Offsets:
    return {partition: one.committed() for partition, one in replayed.items()}
