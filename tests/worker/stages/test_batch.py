import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.support.stages.records import ROUTE, ManualClock, a_kafka_record, a_request
from topicserve.wire.dead_letter import Reason
from topicserve.worker.config.schema import BatchingConfig
from topicserve.worker.offsets.assignment import PartitionAssignment
from topicserve.worker.stages.batch import Batcher
from topicserve.worker.stages.batch_sizer import BatchSizer
from topicserve.worker.stages.request import Batch, EndedBy, Polled, Rejection, Request, Route

CANARY = Route("digits", 2, None, "serving_default")


def a_batcher(clock: ManualClock, **config: float) -> Batcher:
    """Return a batcher whose sizes are fixed."""
    batching = BatchingConfig(**config)  # type: ignore[arg-type]
    return Batcher(batching, BatchSizer(batching.max_batch_size, 0), clock)


def take(batcher: Batcher) -> Batch:
    """Take a batch that must be there."""
    batch = batcher.take()
    assert batch is not None
    return batch


def test_an_idle_worker_does_not_wait() -> None:
    """Whatever has gathered goes at once, unless a timeout was asked for."""
    batcher = a_batcher(ManualClock())
    requests = [a_request(), a_request()]

    batcher.add(requests, [], 0)

    assert take(batcher).requests == requests


def test_timeout_counts_from_first_record() -> None:
    """An idle batcher does not use up the timeout of the batch that comes next."""
    clock = ManualClock()
    batcher = a_batcher(clock, batch_timeout_seconds=0.5)
    clock.advance(60)
    batcher.add([a_request()], [], 0)
    taken: list[Batch | None] = []
    thread = threading.Thread(target=lambda: taken.append(batcher.take()))

    thread.start()
    thread.join(0.05)
    assert taken == []
    clock.advance(0.5)
    batcher.add([], [], 0)  # anyone who waits looks at the clock again
    thread.join(10)

    assert len(taken) == 1


def test_a_full_batch_does_not_wait_for_its_timeout() -> None:
    """Rows count, not records; a record's rows are never split."""
    batcher = a_batcher(ManualClock(), batch_timeout_seconds=60, max_batch_size=4)
    requests = [a_request(rows=3), a_request(rows=2), a_request(rows=9)]

    batcher.add(requests, [], 0)

    assert [take(batcher).rows for _ in range(2)] == [3, 2]


def test_bytes_bound_a_batch_too() -> None:
    """One record that alone is too large goes alone."""
    batcher = a_batcher(ManualClock(), max_batch_bytes=25)
    requests = [a_request(size_bytes=size) for size in (10, 10, 10, 100, 10)]

    batcher.add(requests, [], 0)

    assert [len(take(batcher).requests) for _ in range(4)] == [2, 1, 1, 1]


def test_versions_and_signatures_are_never_mixed() -> None:
    """Each route has its own lane; the one that has waited longest goes first."""
    clock = ManualClock()
    batcher = a_batcher(clock)
    first, second, third = a_request(), a_request(route=CANARY), a_request()
    batcher.add([first], [], 0)
    clock.advance(1)
    batcher.add([second, third], [], 0)

    assert take(batcher).requests == [first, third]
    assert take(batcher).requests == [second]


@given(st.lists(st.sampled_from([0, 1, 2]), min_size=1, max_size=20))
def test_records_of_equal_routes_keep_their_order(turns: list[int]) -> None:
    """Also where these are not the same object: records may name their servable, or leave it out.

    Here records of two such routes, and of another one, take turns.
    """
    routes = [ROUTE, replace(ROUTE), CANARY]
    requests = [a_request(route=routes[turn]) for turn in turns]
    batcher = a_batcher(ManualClock())

    batcher.add(requests, [], 0)
    batcher.close()
    batches = list(iter(batcher.take, None))

    found = {batch.route: batch.requests for batch in batches}
    assert len(batches) == len({routes[turn] for turn in turns})
    for route, own in found.items():
        assert own == [request for request in requests if request.route == route]


def test_an_epoch_goes_before_the_next_and_is_never_mixed_with_it() -> None:
    """A transaction must not wait for records that are not part of it."""
    batcher = a_batcher(ManualClock())
    batcher.add([a_request()], [], 1)
    batcher.add([a_request()], [], 0)

    batches = [take(batcher), take(batcher)]

    assert [batch.epoch for batch in batches] == [0, 1]


def test_rejected_records_travel_with_the_next_batch_or_alone() -> None:
    """Nothing else carries them to where dead letters are published."""
    batcher = a_batcher(ManualClock())
    polled = Polled(a_kafka_record(1), a_request().assignment, 10, 0.0)
    rejection = Rejection(polled, Reason.INVALID_RECORD, ValueError("bad"))
    batcher.add([a_request()], [rejection], 0)

    assert take(batcher).rejections == [rejection]
    batcher.add([], [rejection], 0)
    alone = take(batcher)
    assert (alone.requests, alone.rejections) == ([], [rejection])


def test_a_batch_put_back_rests_and_keeps_its_place() -> None:
    """Its records come before those that were polled after them; other lanes go on."""
    clock = ManualClock()
    batcher = a_batcher(clock, max_batch_size=1)
    assignment = PartitionAssignment(a_request().assignment.partition)
    first, second = (a_request(offset=offset, assignment=assignment) for offset in (1, 2))
    batcher.add([first, second], [], 0)
    batch = take(batcher)
    batcher.requeue(batch, pause_seconds=5)
    other = a_request(route=CANARY)
    batcher.add([other], [], 0)

    assert take(batcher).requests == [other]
    clock.advance(5)
    assert [take(batcher).requests, take(batcher).requests] == [[first], [second]]


def test_a_batch_that_would_overtake_one_put_back_comes_back_too() -> None:
    """Or the records of one key would change their order."""
    clock = ManualClock()
    batcher = a_batcher(clock, max_batch_size=1)
    requests = [a_request(offset=offset) for offset in (1, 2)]
    batcher.add(requests, [], 0)
    first, second = take(batcher), take(batcher)
    batcher.requeue(first, 0)

    assert batcher.is_stale(second)
    batcher.requeue(second, 0)
    again = [take(batcher), take(batcher)]
    assert [batch.requests for batch in again] == [[request] for request in requests]
    assert not any(batcher.is_stale(batch) for batch in again)


def test_no_more_is_polled_than_makes_batches_full() -> None:
    """A batch of each lane and one more: then one lane has all that it can use."""
    batcher = a_batcher(ManualClock(), max_batch_size=4)

    rooms = [batcher.wait_for_room(0)]
    for requests in ([a_request()] * 3, [a_request(route=CANARY)], [a_request()] * 9):
        batcher.add(requests, [], 0)
        rooms.append(batcher.wait_for_room(0))
    take(batcher)
    rooms.append(batcher.wait_for_room(0))

    assert rooms == [8, 5, 8, 1, 3]


def test_a_lane_that_rests_does_not_hold_the_others_up() -> None:
    """Its version may be away for hours."""
    clock = ManualClock()
    batcher = a_batcher(clock, max_batch_size=4)
    batcher.add([a_request()] * 4, [], 0)

    batcher.requeue(take(batcher), 60.0)

    assert batcher.wait_for_room(0) == 8
    clock.advance(60.0)
    assert batcher.wait_for_room(0) == 4


def test_room_is_noticed_when_a_batch_is_taken() -> None:
    """Anyone who polls waits for it no longer than it takes."""
    batcher = a_batcher(ManualClock(), max_batch_size=4)
    batcher.add([a_request()] * 8, [], 0)
    rooms: list[int] = []
    thread = threading.Thread(target=lambda: rooms.append(batcher.wait_for_room(60.0)))

    thread.start()
    take(batcher)
    thread.join(10)

    assert rooms == [4]


def test_closing_gives_out_what_is_left_and_then_none() -> None:
    """A timeout is not waited out by a worker that stops."""
    batcher = a_batcher(ManualClock(), batch_timeout_seconds=60)
    batcher.add([a_request()], [], 0)

    batcher.close()

    assert len(take(batcher).requests) == 1
    assert batcher.take() is None


def test_records_of_closed_slots_can_be_dropped() -> None:
    """They are another's by now."""
    batcher = a_batcher(ManualClock())
    gone, kept = a_request(), a_request()
    gone.assignment.closed = True
    rejection = Rejection(gone, Reason.INVALID_RECORD, ValueError("bad"))
    batcher.add([gone, kept], [rejection], 0)

    assert batcher.drop_revoked() == [gone, gone]
    batch = take(batcher)
    assert (batch.requests, batch.rejections) == ([kept], [])


@given(st.lists(st.tuples(st.integers(1, 6), st.booleans()), min_size=1, max_size=40))
def test_every_record_leaves_once_in_order(added: list[tuple[int, bool]]) -> None:
    """Whatever the sizes, each lane's records come out as they went in, within the bound."""
    batcher = a_batcher(ManualClock(), max_batch_size=8)
    requests = [
        a_request(offset=offset, rows=rows, route=ROUTE if plain else CANARY)
        for offset, (rows, plain) in enumerate(added)
    ]
    batcher.add(requests, [], 0)
    batcher.close()

    by_route: dict[Route, list[Request]] = {ROUTE: [], CANARY: []}
    while (batch := batcher.take()) is not None:
        assert batch.rows == sum(request.input.rows for request in batch.requests)
        assert batch.rows <= 8
        by_route[batch.route] += batch.requests

    for route, taken in by_route.items():
        assert taken == [request for request in requests if request.route == route]


@pytest.mark.parametrize("cost_seconds", [0.0001, 0.001, 0.02])
def test_the_size_follows_the_target_latency(cost_seconds: float) -> None:
    """It settles at what the servable predicts within the target, between 1 and the maximum."""
    sizer = BatchSizer(max_batch_size=256, target_latency_seconds=0.05)

    for _ in range(60):
        rows = sizer.limit(ROUTE)
        sizer.observe(ROUTE, rows, rows * cost_seconds)

    assert sizer.limit(ROUTE) == pytest.approx(min(256, 0.05 / cost_seconds), abs=1)


def test_a_batch_that_a_lower_limit_ended_is_not_called_full() -> None:
    """The first batches of a route are small, to see how large their results are."""
    sizer = BatchSizer(8, 0, max_result_bytes=1000)
    batcher = Batcher(BatchingConfig(max_batch_size=8), sizer, ManualClock())
    batcher.add([a_request() for _ in range(20)], [], 0)
    first = take(batcher)
    for _ in range(2):
        batcher.note_results(Batch(first.route, 0, [], [], 8, 0.0), 8)
    full, rest = take(batcher), take(batcher)
    batcher.add([a_request()], [], 0)
    last = take(batcher)

    ends = [(batch.rows, batch.ended_by) for batch in (first, full, rest, last)]

    assert ends == [
        (1, EndedBy.LIMIT),
        (8, EndedBy.ROWS),
        (8, EndedBy.ROWS),
        (4, EndedBy.GATHERED),
    ]


def test_what_is_left_at_the_end_was_not_waited_for() -> None:
    """No timeout ended it."""
    batcher = a_batcher(ManualClock(), batch_timeout_seconds=60)
    batcher.add([a_request()], [], 0)
    batcher.close()

    assert take(batcher).ended_by is EndedBy.GATHERED


def test_single_records_that_are_to_be_predicted_again_are_ready_at_once() -> None:
    """In their own lanes, before what was polled later; batches that are out do not return."""
    batcher = a_batcher(ManualClock())
    suspect = a_request(0.0, route=replace(ROUTE, is_suspect=True))
    first, second, third = a_request(1.0), a_request(2.0), a_request(3.0, route=CANARY)
    batcher.add([first, third], [], 0)
    out = [take(batcher), take(batcher)]
    batcher.add([second], [], 0)

    batcher.add_again([first, third, suspect], 0)

    taken = [take(batcher), take(batcher)]
    found = [[request.record.offset for request in batch.requests] for batch in taken]
    by_route = {batch.route: offsets for batch, offsets in zip(taken, found, strict=True)}
    expected = [one.record.offset for one in (suspect, first, second)]
    assert by_route == {ROUTE: expected, CANARY: [third.record.offset]}
    assert not any(batcher.is_stale(batch) for batch in out)
