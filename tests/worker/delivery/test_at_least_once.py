from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from tests.support.stages.deliveries import Deliveries, limit_of
from tests.support.stages.logged import Logged
from tests.support.stages.records import ROUTE
from topicserve.backends.errors import (
    BackendUnavailableError,
    BacklogFullError,
    CommitRefusedError,
    DeliveryTimeoutError,
    FencedError,
    RecordRefusedError,
    RecordTooLargeError,
)
from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.delivery.at_least_once import AtLeastOnce
from topicserve.worker.runtime.retry import ShutdownRequestedError

PARTITION = TopicPartition("in", 0)


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Iterator[Deliveries]:
    """Return an at-least-once delivery with one partition assigned."""
    world = Deliveries(CollectorRegistry(), drain_timeout_seconds=getattr(request, "param", 0.0))
    world.delivery = AtLeastOnce(world.context)
    world.delivery.start(1)
    world.assign(PARTITION)
    yield world
    world.environment.retry_loop.shut_down()
    world.delivery.close(1)


def test_offsets_are_committed_after_the_acknowledgement_and_never_past_a_gap(
    world: Deliveries,
) -> None:
    """Batches finish in any order; the interval decides when, the gap decides what."""
    first, second = world.polled(0, 1)

    world.publish(second)
    world.commit_when_due()
    assert world.log.committed == {}
    world.publish(first)
    world.commit_when_due()

    assert world.log.committed == {PARTITION: 2}
    assert world.log.ids() == [world.id_of(second), world.id_of(first)]
    assert world.count("topicserve_results_published_total", servable="digits", version="1") == 2


def test_nothing_is_committed_before_the_interval_is_over(world: Deliveries) -> None:
    """A commit costs a round trip."""
    world.publish(*world.polled(0))

    world.delivery.tick()

    assert world.log.committed == {}


def test_what_the_broker_does_not_acknowledge_goes_again(world: Deliveries, logged: Logged) -> None:
    """Only what failed, and only then is it finished."""
    first, second = world.polled(0, 1)
    failures = iter([DeliveryTimeoutError("frozen")])
    world.producer.fail_send = lambda sent: (
        next(failures, None) if world.id_in(sent) == world.id_of(first) else None
    )

    world.publish(first, second)
    assert world.context.tracker.wait_finished([PARTITION], 10)

    assert sorted(world.log.ids()) == sorted([world.id_of(first), world.id_of(second)])
    assert world.count("topicserve_failed_deliveries_total") == 1
    assert logged("not_acknowledged") == [{"records": 1, "problem": "frozen"}]


def test_a_full_backlog_is_waited_for(world: Deliveries, logged: Logged) -> None:
    """Nothing was sent, so the same is sent again."""
    refusals = iter([BacklogFullError("full"), BacklogFullError("full")])
    world.producer.refuse_send = lambda: next(refusals, None)

    world.publish(*world.polled(0))

    assert len(world.log.published) == 1
    assert world.count("topicserve_retries_total", stage="publish") == 2
    assert logged("publish_retry") == [{"problem": "full"}] * 2


def test_a_result_that_is_too_large_becomes_a_dead_letter(world: Deliveries) -> None:
    """The input went through, so the input goes through again."""
    (polled,) = world.polled(0)
    world.producer.fail_send = lambda sent: (
        RecordTooLargeError("1 MB") if sent.topic == "out" else None
    )

    world.publish(polled)
    assert world.context.tracker.wait_finished([PARTITION], 10)

    (letter,) = world.log.published
    assert letter.topic == "dead"
    assert dict(letter.headers)["topicserve-reason"] == b"result_too_large"
    assert world.count("topicserve_dead_letters_total", reason="result_too_large") == 1


def test_a_dead_letter_that_is_too_large_is_truncated(world: Deliveries) -> None:
    """An invalid record just under the topic's limit does not stop a worker, nor is it lost."""
    polled = world.polled_invalid(0, value=b"A" * 1_048_230)
    world.producer.fail_send = limit_of(1_048_588)

    world.publish_dead_letter(polled)
    assert world.context.tracker.wait_finished([PARTITION], 10)

    (letter,) = world.log.published
    assert letter.value == b""
    assert dict(letter.headers)["topicserve-truncated"] == b"value=1048230"
    assert world.count("topicserve_dead_letters_total", reason="invalid_record") == 1
    assert world.count("topicserve_dead_letters_truncated_total") == 1


def test_a_refused_result_becomes_a_dead_letter_and_the_others_go_out(world: Deliveries) -> None:
    """Whatever the client has against it: a fault of one record is no fault of the worker."""
    first, second = world.polled(0, 1)
    world.producer.fail_send = lambda sent: (
        RecordRefusedError("TypeError: header")
        if sent.topic == "out" and world.id_in(sent) == world.id_of(first)
        else None
    )

    world.publish(first, second)
    assert world.context.tracker.wait_finished([PARTITION], 10)

    assert {sent.topic for sent in world.log.published} == {"out", "dead"}
    assert world.count("topicserve_dead_letters_total", reason="result_refused") == 1
    assert world.environment.fatal.error is None


def test_a_topic_that_takes_no_dead_letter_at_all_stops_the_worker(world: Deliveries) -> None:
    """Nothing is committed: a record would be lost."""
    polled = world.polled_invalid(0, value=b"A" * 5000)
    world.producer.fail_send = limit_of(100)

    world.publish_dead_letter(polled)

    assert world.environment.fatal.wait(10)
    world.commit_when_due()
    assert world.log.committed == {}


def test_what_trying_again_cannot_mend_stops_the_worker(world: Deliveries) -> None:
    """With nothing committed."""
    error = FencedError("a newer producer")
    world.producer.fail_send = lambda _: error

    world.publish(*world.polled(0))
    world.commit_when_due()

    assert world.environment.fatal.error is error
    assert world.log.committed == {}


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(CommitRefusedError("rebalance"), "refused"), (BackendUnavailableError("away"), "failed")],
)
def test_a_commit_that_fails_is_tried_again_later(
    world: Deliveries, error: Any, outcome: str, logged: Logged
) -> None:
    """The offsets stay due."""
    world.publish(*world.polled(0))
    world.consumer.commit_error = error
    world.commit_when_due()
    world.consumer.commit_error = None

    world.commit_when_due()

    assert world.log.committed == {PARTITION: 1}
    assert world.count("topicserve_commits_total", outcome=outcome) == 1
    assert world.count("topicserve_commits_total", outcome="committed") == 1
    assert world.count("topicserve_commit_seconds_count") == 2
    expected = [{"problem": "away"}] if outcome == "failed" else []  # a rebalance is no failure
    assert logged("commit_failed") == expected


def test_revoked_partitions_are_committed_up_to_what_is_finished(
    world: Deliveries, logged: Logged
) -> None:
    """What is still in progress is left to the next owner, and its result is dropped."""
    first, second = world.polled(0, 1)
    world.publish(first)

    assert world.delivery.revoke([PARTITION]) == {PARTITION: 1}
    world.publish(second)

    assert world.log.ids() == [world.id_of(first)]
    assert world.context.tracker.in_flight_bytes == 0
    assert logged("drain_timed_out") == [{"partitions": 1}]


def test_lost_partitions_are_forgotten(world: Deliveries) -> None:
    """Someone else may own them already."""
    world.publish(*world.polled(0))

    world.delivery.lose([PARTITION])
    world.commit_when_due()

    assert world.log.committed == {}


def test_finishing_commits_at_once(world: Deliveries) -> None:
    """A worker that stops leaves nothing to be done again."""
    world.publish(*world.polled(0, 1))

    assert world.delivery.finish(timeout_seconds=1)

    assert world.log.committed == {PARTITION: 2}


def test_finishing_says_when_the_time_ran_out(world: Deliveries) -> None:
    """Something is still in progress."""
    world.polled(0)

    assert not world.delivery.finish(timeout_seconds=0)


def test_giving_up_ends_the_waiting(world: Deliveries) -> None:
    """A broker that stays away must not hold up the end."""
    world.producer.refuse_send = lambda: BacklogFullError("full")
    world.environment.retry_loop.shut_down()

    with pytest.raises(ShutdownRequestedError):
        world.publish(*world.polled(0))


@pytest.mark.parametrize("world", [3600.0], indirect=True, ids=["drain_timeout_seconds=3600"])
def test_partitions_go_at_once_while_a_version_is_away(world: Deliveries) -> None:
    """It may be away for hours; the member that gets them may have it."""
    world.context.unavailable.note(ROUTE, "no version is available")
    world.polled(0)

    assert world.delivery.revoke([PARTITION]) == {}

    assert world.context.tracker.partitions() == []


def test_batches_wait_while_results_take_more_than_may_be_in_flight(world: Deliveries) -> None:
    """Until the broker acknowledges enough of them; what is only polled keeps no batch waiting."""
    (polled,) = world.polled(0)
    tracker = world.context.tracker
    tracker.count_bytes(5000)
    assert world.delivery.wait_for_room(0)

    tracker.count_outcomes(1000)
    assert not world.delivery.wait_for_room(0)
    tracker.finish([polled], 400)

    assert world.delivery.wait_for_room(0)
    assert tracker.outcome_bytes == 600
