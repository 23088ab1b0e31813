import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from tests.support.stages.deliveries import Deliveries, limit_of
from tests.support.stages.logged import Logged
from tests.support.stages.records import ROUTE
from topicserve.backends.broker import metadata_of
from topicserve.backends.errors import (
    BackendError,
    BackendUnavailableError,
    BacklogFullError,
    CommitRefusedError,
    DeliveryTimeoutError,
    FencedError,
    RecordTooLargeError,
    TransactionAbortedError,
)
from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.delivery.exactly_once import POSITIONS_SECONDS, ExactlyOnce
from topicserve.worker.delivery.transactions import GIVEN_UP_AFTER
from topicserve.worker.runtime.retry import ShutdownRequestedError

PARTITION = TopicPartition("in", 0)
OTHER = TopicPartition("in", 1)
LIMIT_SECONDS = 10
# The time of a transaction in these tests is 10 s.
COMMIT_TIMEOUT_SECONDS = 10 * GIVEN_UP_AFTER


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Iterator[Deliveries]:
    """Return an exactly-once delivery with two partitions assigned."""
    world = Deliveries(CollectorRegistry(), drain_timeout_seconds=getattr(request, "param", 0.0))
    world.delivery = ExactlyOnce(world.context)
    world.delivery.start(1)
    world.assign(PARTITION, OTHER)
    yield world
    world.environment.retry_loop.shut_down()
    world.delivery.close(1)


def wait_for_commits(world: Deliveries, count: int = 1) -> None:
    """Wait until that many transactions are committed, and what follows a commit is done."""
    committed = world.context.tracker.wait_until(
        lambda: world.producer.commits >= count, LIMIT_SECONDS
    )
    assert committed
    assert isinstance(world.delivery, ExactlyOnce)
    assert world.delivery._transaction.acquire(timeout=LIMIT_SECONDS)
    world.delivery._transaction.release()


def wait_for_abort(world: Deliveries) -> None:
    """Wait until the transaction cannot be committed any more."""
    assert not world.delivery.finish(LIMIT_SECONDS)


def test_results_and_offsets_are_committed_together(world: Deliveries) -> None:
    """Many batches go into one transaction, and a reader sees them all at once."""
    first, second, third = world.polled(0, 1, 2)
    world.publish(second)
    world.publish(first)
    assert world.log.published == []

    world.publish(third)
    world.commit_when_due()
    wait_for_commits(world)

    assert world.log.ids() == [world.id_of(polled) for polled in (second, first, third)]
    assert world.log.committed == {PARTITION: 3}
    assert world.count("topicserve_transactions_total", outcome="committed") == 1


def test_a_transaction_waits_for_all_of_its_records(world: Deliveries) -> None:
    """Its offsets are the positions at the cut, so nothing before them may be missing."""
    first, second = world.polled(0, 1)
    world.publish(second)
    world.commit_when_due()

    assert world.producer.commits == 0
    world.publish(first)
    wait_for_commits(world)

    assert world.log.committed == {PARTITION: 2}


def test_the_next_epoch_is_kept_until_its_own_transaction(world: Deliveries) -> None:
    """Its batches are predicted while the transaction before is committed."""
    (first,) = world.polled(0)
    world.commit_when_due()
    assert world.delivery.admit(0) == 1
    (second,) = world.polled(1)
    world.publish(second, epoch=1)

    world.publish(first, epoch=0)
    wait_for_commits(world)
    assert world.log.ids() == [world.id_of(first)]
    world.commit_when_due()
    wait_for_commits(world, 2)

    assert world.log.ids() == [world.id_of(first), world.id_of(second)]
    assert world.log.committed == {PARTITION: 2}


def test_a_transaction_ends_early_when_enough_is_in_flight(world: Deliveries) -> None:
    """Or a fast worker would stand still until the interval is over."""
    world.publish(*world.polled(0, 1, 2))
    world.delivery.tick()
    assert world.delivery.admit(0) == 0

    world.publish(*world.polled(3))
    world.delivery.tick()
    wait_for_commits(world)

    assert world.log.committed == {PARTITION: 4}


def test_a_transaction_ends_early_when_nothing_more_comes(world: Deliveries) -> None:
    """The last results of a backlog do not wait for records that do not come."""
    world.publish(*world.polled(0))
    world.delivery.tick()
    assert world.delivery.admit(0) == 0

    world.delivery.tick(idle=True)
    wait_for_commits(world)
    world.delivery.tick(idle=True)

    assert world.log.committed == {PARTITION: 1}
    assert world.delivery.admit(0) == 1  # an empty epoch stays open


def test_a_record_after_a_pause_is_not_held_back(world: Deliveries) -> None:
    """The interval since the transaction before is over already."""
    world.commit_when_due()
    world.publish(*world.polled(0))
    world.delivery.tick()
    wait_for_commits(world)

    world.publish(*world.polled(1))
    world.delivery.tick()

    assert world.log.committed == {PARTITION: 1}
    assert world.delivery.admit(0) == 1  # while this one's has just begun


@pytest.mark.parametrize(
    "error", [TransactionAbortedError("abortable"), CommitRefusedError("rebalanced")]
)
def test_an_aborted_transaction_is_done_again(
    world: Deliveries, error: Exception, logged: Logged
) -> None:
    """Everything since the last commit is read again, and each result is seen once."""
    world.publish(*world.polled(0))
    world.commit_when_due()
    wait_for_commits(world)
    failures = iter([error])
    world.producer.fail_commit = lambda: next(failures, None)  # type: ignore[assignment,return-value]
    world.publish(*world.polled(1, 2))
    world.commit_when_due()
    wait_for_abort(world)

    world.delivery.tick()

    assert world.producer.aborted == 1
    assert world.consumer.positions[PARTITION] == 1
    assert world.context.tracker.in_flight_records == 0
    assert world.context.tracker.in_flight_bytes == 0
    world.publish(*world.polled(1, 2))
    world.commit_when_due()
    wait_for_commits(world, 2)
    assert world.log.committed == {PARTITION: 3}
    assert len(set(world.log.ids())) == len(world.log.ids()) == 3
    assert world.count("topicserve_redeliveries_total") == 2
    assert logged("transaction_abort_required") == [{"why": str(error)}]
    assert logged("rewound") == [{"why": str(error), "records": 2}]
    assert world.count("topicserve_commits_total", outcome="committed") == 2


def test_an_old_epochs_batch_comes_to_nothing(world: Deliveries) -> None:
    """It was in progress when everything was read again."""
    old, _ = world.polled(0, 1)
    world.delivery.lose([OTHER])  # nothing of it was in progress: no harm done
    world.delivery.lose([PARTITION])
    world.delivery.tick()
    world.assign(PARTITION)

    world.publish(old, epoch=0)
    world.publish(*world.polled(0, 1))
    world.commit_when_due()
    wait_for_commits(world)

    assert len(world.log.published) == 2


def test_a_commit_that_nobody_answers_is_asked_for_again(world: Deliveries, logged: Logged) -> None:
    """Asking twice commits once."""
    failures = iter([BackendUnavailableError("away")] * 3)
    world.producer.fail_commit = lambda: next(failures, None)

    world.publish(*world.polled(0))
    world.commit_when_due()
    wait_for_commits(world)

    assert len(world.log.published) == 1
    assert world.count("topicserve_retries_total", stage="transaction") == 3
    assert logged("commit_waits") == [{"problem": "away"}] * 3


def test_a_commit_that_stays_unanswered_is_done_again(world: Deliveries, logged: Logged) -> None:
    """It is aborted before the broker does so by itself, which would fence the worker."""
    asked = iter([COMMIT_TIMEOUT_SECONDS / 2] * 2)

    def no_answer() -> BackendUnavailableError | None:
        seconds = next(asked, None)
        world.clock.advance(seconds or 0)
        return None if seconds is None else BackendUnavailableError("away")

    world.producer.fail_commit = no_answer
    world.publish(*world.polled(0))
    world.commit_when_due()
    wait_for_abort(world)
    unanswered = iter([BackendUnavailableError("no answer")])
    world.producer.fail_abort = lambda: next(unanswered, None)

    world.delivery.tick()

    assert world.producer.aborted == 1
    assert world.count("topicserve_transactions_total", outcome="aborted") == 1
    world.publish(*world.polled(0))
    world.commit_when_due()
    wait_for_commits(world)
    assert world.log.committed == {PARTITION: 1}
    assert len(world.log.published) == 1
    assert logged("abort_waits") == [{"problem": "no answer"}]


def test_a_commit_whose_answer_was_lost_is_not_done_again(
    world: Deliveries, logged: Logged
) -> None:
    """The group's offsets tell that it was done: its records count, and later ones go on."""

    def lost_answer() -> BackendUnavailableError:
        world.producer.fail_commit = lambda: None
        world.producer.commit_transaction(1)
        world.clock.advance(COMMIT_TIMEOUT_SECONDS)
        return BackendUnavailableError("away")

    world.producer.fail_commit = lost_answer
    world.publish(*world.polled(0))
    world.commit_when_due()
    wait_for_abort(world)

    unanswered = iter([BackendUnavailableError("no answer")])
    world.consumer.committed_error = lambda: next(unanswered, None)
    world.delivery.tick()

    assert world.consumer.positions[PARTITION] == 1
    assert len(world.acknowledged) == 1
    assert world.count("topicserve_transactions_total", outcome="committed") == 1
    assert world.count("topicserve_transactions_total", outcome="aborted") == 0
    assert world.count("topicserve_redeliveries_total") == 0
    world.publish(*world.polled(1))
    world.commit_when_due()
    wait_for_commits(world, 2)
    assert world.log.committed == {PARTITION: 2}
    assert len(set(world.log.ids())) == len(world.log.ids()) == 2
    assert logged("commit_confirmed") == [{}]
    assert logged("commit_in_doubt") == [{"problem": "no answer"}]


def test_positions_alone_are_committed_once_all_is_at_rest(world: Deliveries) -> None:
    """Behind markers and aborted records: one transaction, and none more while nothing moves."""
    world.publish(*world.polled(0))
    world.commit_when_due()
    wait_for_commits(world)
    world.context.tracker.wait_finished([PARTITION], LIMIT_SECONDS)
    world.context.tracker.reading.pass_to({PARTITION: 4, OTHER: 9})
    world.context.tracker.reading.start_at({OTHER: 9})

    world.delivery.tick(idle=True)
    assert world.producer.commits == 1, "records may come again in a moment"
    for count in (2, 2, 2):
        world.clock.advance(POSITIONS_SECONDS)
        world.delivery.tick(idle=True)
        wait_for_commits(world, count)

    assert world.log.committed == {PARTITION: 4}
    assert world.context.tracker.commits.committable() == {}
    assert len(world.log.published) == 1


def test_no_transaction_follows_a_commit_of_notes_that_is_in_doubt(world: Deliveries) -> None:
    """It may still come to the broker, and would take the transaction's offsets back."""
    polled = world.polled(0)
    world.context.tracker.commits.note(PARTITION, "a note")
    world.consumer.commit_error = BackendUnavailableError("no answer in time")
    assert not world.delivery.commit_notes()

    world.publish(*polled)
    world.commit_when_due()
    assert world.producer.commits == 0
    world.consumer.commit_error = None
    world.delivery.tick()

    wait_for_commits(world)
    assert world.log.committed == {PARTITION: 1}
    assert metadata_of(world.log.committed[PARTITION]) == "a note"


def test_a_commit_of_notes_stays_in_doubt_when_the_notes_are_the_old_ones_again(
    world: Deliveries,
) -> None:
    """The commit that was not answered may still come; the old notes are committed again first."""
    polled = world.polled(0)
    world.context.tracker.commits.note(PARTITION, "a note")
    world.consumer.commit_error = BackendUnavailableError("no answer in time")
    assert not world.delivery.commit_notes()
    world.context.tracker.commits.note(PARTITION, "")

    assert not world.delivery.commit_notes()
    world.publish(*polled)
    world.commit_when_due()
    assert world.producer.commits == 0
    world.consumer.commit_error = None
    assert world.delivery.commit_notes()

    wait_for_commits(world)
    assert world.log.committed == {PARTITION: 1}
    assert metadata_of(world.log.committed[PARTITION]) == ""


def test_a_released_partition_leaves_no_commit_of_notes_in_doubt(world: Deliveries) -> None:
    """The group refuses commits of members from before its rebalance."""
    released, polled = world.polled(0), world.polled(0, partition=1)
    world.context.tracker.commits.note(PARTITION, "a note")
    world.consumer.commit_error = BackendUnavailableError("no answer in time")
    assert not world.delivery.commit_notes()

    world.context.tracker.release([PARTITION])
    world.publish(*released)
    world.publish(*polled)
    world.commit_when_due()

    wait_for_commits(world)
    assert world.log.committed == {OTHER: 1}


def test_a_refused_commit_of_notes_holds_no_transaction_up(
    world: Deliveries, logged: Logged
) -> None:
    """The group has moved on, and refuses it whenever it comes."""
    polled = world.polled(0)
    world.context.tracker.commits.note(PARTITION, "a note")
    world.consumer.commit_error = CommitRefusedError("the group has moved on")
    assert not world.delivery.commit_notes()

    world.publish(*polled)
    world.commit_when_due()

    wait_for_commits(world)
    assert logged("commit_failed") == [{"problem": "the group has moved on"}]


def test_positions_alone_wait_for_records_in_flight(world: Deliveries) -> None:
    """Those of the open epoch are committed with it."""
    polled = world.polled(0)
    world.context.tracker.reading.pass_to({PARTITION: 4})

    for _ in range(3):
        world.clock.advance(POSITIONS_SECONDS)
        world.delivery.tick(idle=True)
    assert world.log.committed == {}
    world.publish(*polled)
    wait_for_commits(world)

    assert world.log.committed == {PARTITION: 4}
    assert world.producer.commits == 1


def test_a_commit_in_doubt_is_not_taken_for_done_by_partitions_that_stand_still(
    world: Deliveries,
) -> None:
    """What was committed before tells nothing of records whose own partition is gone."""
    world.publish(*world.polled(0, partition=1))
    world.commit_when_due()
    wait_for_commits(world)

    def lost() -> BackendUnavailableError:
        world.delivery.lose([PARTITION])
        world.clock.advance(COMMIT_TIMEOUT_SECONDS)
        return BackendUnavailableError("away")

    world.producer.fail_commit = lost
    world.publish(*world.polled(0))
    world.commit_when_due()
    wait_for_abort(world)
    world.delivery.tick()

    assert len(world.acknowledged) == 1
    assert world.count("topicserve_transactions_total", outcome="aborted") == 1


def test_waiting_for_room_is_part_of_a_transactions_time(world: Deliveries) -> None:
    """The broker would take a worker that outlasts it for a zombie, which stops it."""

    def full() -> BackendError:
        world.clock.advance(world.producer.patience_seconds[-1] or 0.0)
        return BacklogFullError("the broker is slow")

    world.producer.refuse_send = full
    world.publish(*world.polled(0))
    world.commit_when_due()
    wait_for_abort(world)

    assert world.producer.patience_seconds == [COMMIT_TIMEOUT_SECONDS]


@pytest.mark.parametrize("error", [DeliveryTimeoutError("frozen"), CommitRefusedError("moved on")])
def test_a_record_that_was_refused_aborts_the_transaction(
    world: Deliveries, error: BackendError
) -> None:
    """It would be lost, since its offset is in there; its error may be the transaction's own."""
    failures = iter([error])
    world.producer.fail_send = lambda _: next(failures, None)
    world.publish(*world.polled(0, 1))
    world.commit_when_due()
    wait_for_abort(world)

    world.delivery.tick()
    world.publish(*world.polled(0, 1))
    world.commit_when_due()
    wait_for_commits(world)

    assert len(world.log.published) == 2
    assert world.environment.fatal.error is None


def test_a_result_that_is_too_large_becomes_a_dead_letter_the_next_time(
    world: Deliveries,
) -> None:
    """In the transaction after the one that it spoiled."""
    world.producer.fail_send = lambda sent: (
        RecordTooLargeError("1 MB")
        if sent.topic == "out" and world.id_in(sent).endswith("1")
        else None
    )
    world.publish(*world.polled(0, 1))
    world.commit_when_due()
    wait_for_abort(world)
    world.delivery.tick()

    world.publish(*world.polled(0, 1))
    world.commit_when_due()
    wait_for_commits(world)

    assert [sent.topic for sent in world.log.published] == ["out", "dead"]


def test_a_dead_letter_that_is_too_large_is_truncated_the_next_time(
    world: Deliveries, logged: Logged
) -> None:
    """And neither lost nor the end of the worker; the replacement is kept until it is committed."""
    world.producer.fail_send = limit_of(1_048_588)
    failures = iter([TransactionAbortedError("rebalance")])
    world.producer.fail_commit = lambda: next(failures, None)

    for _ in ("refused", "aborted"):
        world.publish_dead_letter(world.polled_invalid(0, value=b"A" * 1_048_230))
        world.commit_when_due()
        wait_for_abort(world)
        world.delivery.tick()
    world.publish_dead_letter(world.polled_invalid(0, value=b"A" * 1_048_230))
    world.commit_when_due()
    wait_for_commits(world)

    (letter,) = world.log.published
    assert dict(letter.headers)["topicserve-truncated"] == b"value=1048230"
    assert world.count("topicserve_dead_letters_truncated_total") == 1
    assert world.environment.fatal.error is None
    (line,) = logged("dead_letter_truncated")
    assert (line["topic"], line["partition"], line["offset"]) == ("in", 0, 0)
    assert (line["left_out"], line["problem"]) == ("value=1048230", "1048809 bytes")


def test_a_refusal_told_after_the_abort_is_noted(world: Deliveries) -> None:
    """It would be refused again and again: the delivery thread may be late."""
    late: list[Callable[[], None]] = []
    send = world.producer.send

    def send_late(
        records: Any, on_delivery: Any, timeout_seconds: float | None = None, places: Any = None
    ) -> None:
        def tell(errors: Any) -> None:
            late.append(partial(on_delivery, errors))

        send(records, tell, timeout_seconds, places)

    world.producer.send = send_late  # type: ignore[method-assign]
    world.producer.fail_send = lambda sent: (
        RecordTooLargeError("1 MB")
        if sent.topic == "out" and world.id_in(sent).endswith("1")
        else None
    )
    aborts = iter([TransactionAbortedError("records of this transaction were not written")])
    world.producer.fail_commit = lambda: next(aborts, None)
    world.publish(*world.polled(0, 1))
    world.commit_when_due()
    wait_for_abort(world)
    world.delivery.tick()
    late.pop()()
    world.producer.send = send  # type: ignore[method-assign]

    world.publish(*world.polled(0, 1))
    world.commit_when_due()
    wait_for_commits(world)

    assert [sent.topic for sent in world.log.published] == ["out", "dead"]


def test_revoked_partitions_are_finished_in_their_transaction(world: Deliveries) -> None:
    """Within the drain budget the transaction is closed and committed early."""
    world.publish(*world.polled(0))

    offsets = world.delivery.revoke([PARTITION])

    assert offsets == {}
    if world.producer.commits == 0:  # the budget is nothing, so it may have run out
        wait_for_abort(world)
    else:
        assert world.log.committed == {PARTITION: 1}


def test_nothing_of_a_lost_partition_is_published(world: Deliveries) -> None:
    """The whole transaction is aborted; the other partitions' records are read again."""
    (lost,) = world.polled(0)
    world.publish(lost)
    world.publish(*world.polled(5, partition=1))
    world.consumer.positions.pop(PARTITION)

    world.delivery.lose([PARTITION])
    world.delivery.tick()
    world.publish(*world.polled(5, partition=1))
    world.commit_when_due()
    wait_for_commits(world)

    assert world.id_of(lost) not in world.log.ids()
    assert world.log.committed == {OTHER: 6}


def test_a_fenced_worker_stops_loudly(world: Deliveries) -> None:
    """A newer one has taken its place."""
    error = FencedError("a newer producer")
    world.producer.fail_commit = lambda: error
    world.publish(*world.polled(0))

    world.commit_when_due()

    assert world.environment.fatal.wait(LIMIT_SECONDS)
    assert world.environment.fatal.error is error


def test_a_transaction_that_cannot_be_aborted_at_the_end_is_left_to_the_broker(
    world: Deliveries, logged: Logged
) -> None:
    """Which aborts it in time; closing raises nothing."""
    world.producer.fail_commit = lambda: TransactionAbortedError("abortable")
    world.publish(*world.polled(0))
    world.commit_when_due()
    wait_for_abort(world)
    world.producer.fail_abort = lambda: BackendUnavailableError("away")

    world.delivery.close(1)

    assert logged("abort_failed") == [{"problem": "away"}]
    assert world.log.published == []


def test_finishing_commits_what_is_under_way(world: Deliveries) -> None:
    """Without waiting for the interval."""
    world.publish(*world.polled(0, 1))

    assert world.delivery.finish(LIMIT_SECONDS)

    assert world.log.committed == {PARTITION: 2}


def test_finishing_seals_what_is_open_when_a_commit_ends_meanwhile(world: Deliveries) -> None:
    """Otherwise it would wait for an epoch that no one seals, for as long as it may."""
    may_commit = threading.Event()

    def held() -> None:
        may_commit.wait(LIMIT_SECONDS)

    world.producer.fail_commit = held
    world.publish(*world.polled(0))
    world.commit_when_due()
    world.publish(*world.polled(1), epoch=1)
    assert isinstance(world.delivery, ExactlyOnce)
    seal, epochs = world.delivery._seal, world.delivery._epochs

    def seal_before_the_commit_ends() -> None:
        seal()
        may_commit.set()
        epochs.wait_committed(0, LIMIT_SECONDS)

    world.delivery._seal = seal_before_the_commit_ends  # type: ignore[method-assign]

    assert world.delivery.finish(1.0)

    assert world.log.committed == {PARTITION: 2}


def test_nothing_is_taken_once_it_is_closed(world: Deliveries) -> None:
    """A worker that gives up leaves the rest to be read again."""
    (polled,) = world.polled(0)
    world.delivery.close(LIMIT_SECONDS)

    with pytest.raises(ShutdownRequestedError):
        world.publish(polled)

    assert world.log.published == []


def test_a_transaction_is_open_only_while_it_is_committed(world: Deliveries) -> None:
    """One that a killed worker left open would keep the group's offsets from others."""
    opened: list[int] = []
    world.producer.on_begin = lambda: opened.append(len(world.log.published))
    first, second = world.polled(0, 1)
    world.publish(first)
    world.commit_when_due()
    assert opened == []

    world.publish(second)
    wait_for_commits(world)

    assert opened == [0]


@pytest.mark.parametrize("world", [3600.0], indirect=True, ids=["drain_timeout_seconds=3600"])
def test_partitions_go_at_once_while_a_version_is_away(world: Deliveries) -> None:
    """It may be away for hours; the member that gets them may have it."""
    world.context.unavailable.note(ROUTE, "no version is available")
    world.polled(0)

    assert world.delivery.revoke([PARTITION]) == {}

    assert world.context.tracker.partitions() == [OTHER]


def test_a_transaction_ends_early_when_its_results_take_much_memory(world: Deliveries) -> None:
    """A quarter of what may be in flight, though no batch ever waits for room."""
    first, second = world.polled(0, 1)
    world.context.tracker.count_outcomes(249)
    world.delivery.tick()
    assert world.delivery.admit(0) == 0

    world.context.tracker.count_outcomes(1)
    world.delivery.tick()
    assert world.delivery.admit(0) == 1
    world.publish(first, second)
    wait_for_commits(world)

    world.context.tracker.count_outcomes(10_000)
    assert world.delivery.wait_for_room(0)


def test_a_log_that_took_anothers_place_gets_none_of_its_offsets(world: Deliveries) -> None:
    """A topic was created again while its old records were in flight: these are answered, too."""
    old = world.polled(100, 101)
    new = world.polled(0, 1)
    world.publish(*old)
    world.publish(*new)
    world.commit_when_due()
    wait_for_commits(world)

    assert len(world.log.ids()) == 4
    assert world.log.committed == {PARTITION: 2}


def test_a_transaction_on_its_way_says_nothing_of_the_log_after(world: Deliveries) -> None:
    """Its offsets were cut before the topic was created again: what follows counts from there."""
    old = world.polled(100, 101)
    world.commit_when_due()  # cut, and waits for its records
    new = world.polled(0)
    world.publish(*old)
    wait_for_commits(world)
    assert world.log.committed == {}

    world.publish(*new)
    world.commit_when_due()
    wait_for_commits(world, 2)

    assert world.log.committed == {PARTITION: 1}
    assert len(world.log.ids()) == 3
