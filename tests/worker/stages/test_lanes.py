"""How lanes are served when producers ask for very many versions that do not exist."""

import gc
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from tests.support.stages.records import ROUTE, ManualClock, a_request
from topicserve.worker.config.schema import BatchingConfig
from topicserve.worker.stages.batch import Batcher
from topicserve.worker.stages.batch_sizer import REMEMBERED_ROUTES, BatchSizer
from topicserve.worker.stages.lanes import TAKES_FOR_ONE_RETURN
from topicserve.worker.stages.request import Batch, Route

MANY = 2000


class CountingSizer(BatchSizer):
    """Counts how often a lane is looked at: each look asks for its limit."""

    def __init__(self) -> None:
        super().__init__(64, 0)
        self.looks = 0

    def limit(self, route: Route) -> int:
        self.looks += 1
        return super().limit(route)


class World:
    """A batcher with many lanes of versions that do not exist."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.sizer = CountingSizer()
        self.batcher = Batcher(BatchingConfig(max_batch_size=64), self.sizer, self.clock)
        for number in range(MANY):
            route = Route("digits", number, None, "serving_default")
            self.batcher.add([a_request(offset=number, route=route)], [], 0)

    def take(self) -> Batch:
        batch = self.batcher.take()
        assert batch is not None
        return batch

    def put_all_back(self) -> None:
        """Take each lane's batch once, and bring it back."""
        for _ in range(MANY):
            self.batcher.requeue(self.take(), 0.1)


def test_a_good_record_waits_for_few_lanes_that_come_back() -> None:
    """Though thousands of them have waited longer, and are ready, too."""
    world = World()
    world.put_all_back()
    world.clock.advance(1)
    good = a_request()
    world.batcher.add([good], [], 0)

    taken = [world.take() for _ in range(2)]

    assert [good] in [batch.requests for batch in taken]


def test_lanes_that_come_back_get_their_share_beside_a_busy_one() -> None:
    """One take in a few: a version that has come is found."""
    world = World()
    world.put_all_back()
    world.clock.advance(1)
    takes = 10 * TAKES_FOR_ONE_RETURN
    world.batcher.add([a_request() for _ in range(64 * takes)], [], 0)

    taken = [world.take() for _ in range(takes)]

    assert len([batch for batch in taken if batch.route != ROUTE]) == 10


def test_the_work_of_a_take_does_not_grow_with_the_lanes() -> None:
    """Nor does that of asking for room: lanes are not looked at one by one."""
    world = World()
    world.put_all_back()
    world.sizer.looks = 0

    for _ in range(100):
        world.batcher.add([a_request()], [], 0)
        assert world.batcher.wait_for_room(0) > 0
        assert world.take().route == ROUTE

    assert world.sizer.looks < 100 * 10


def test_bringing_lanes_back_does_a_bounded_amount_of_work() -> None:
    """A few looks for each, however many there are."""
    world = World()
    world.sizer.looks = 0

    for _ in range(3):
        world.put_all_back()
        world.clock.advance(1)

    assert world.sizer.looks < 3 * MANY * 10


def test_no_name_is_kept_once_its_records_are_gone() -> None:
    """Producers choose labels, so they choose how long those are and how many."""
    batcher = Batcher(BatchingConfig(), BatchSizer(1024, 0), ManualClock())
    tracemalloc.start()
    for number in range(100):
        route = Route("digits", None, f"{number}" * 100_000, "serving_default")
        batcher.add([a_request(route=route)], [], 0)
        batch = batcher.take()
        assert batch is not None
        batcher.requeue(batch, 0)
        assert batcher.take() is not None
        del batch, route
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert held < 1_500_000


def test_the_sizes_of_few_routes_are_remembered() -> None:
    """A signature's name is the producer's to choose, too."""
    sizer = BatchSizer(1024, 0.1)

    for number in range(REMEMBERED_ROUTES + 10):
        sizer.observe(Route("digits", None, None, str(number)), 8, 0.001)

    assert sizer.remembered == REMEMBERED_ROUTES
    assert sizer.limit(Route("digits", None, None, "0")) == 32


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "take", "back", "later", "room"]),
            st.integers(0, 3),
            st.integers(1, 3),
        ),
        max_size=60,
    )
)
def test_room_is_counted_as_if_all_lanes_were_looked_at(steps: list[tuple[str, int, int]]) -> None:
    """Whatever was added, taken and brought back; parked lanes do not count."""
    clock = ManualClock()
    batcher = Batcher(BatchingConfig(max_batch_size=4), BatchSizer(4, 0), clock)
    out: list[Batch] = []
    for step, number, rows in steps:
        if step == "add":
            route = Route("digits", number, None, "serving_default")
            batcher.add([a_request(route=route, rows=rows)], [], 0)
        elif step == "later":
            clock.advance(0.05)
        elif step == "back" and out:
            batcher.requeue(out.pop(number % len(out)), 0.1)
        elif step == "take":
            lane = batcher._lanes.next(clock())
            if lane is not None:
                batch = batcher.take()
                assert batch is not None
                assert batch.route == lane.key.route
                out.append(batch)
        batcher._room()  # lets lanes be counted again whose pause is over
        counted = [lane for lane in batcher._lanes if lane.parked_until <= clock()]
        assert batcher._lanes.unparked == len(counted)
        assert batcher._lanes.rows == sum(lane.rows for lane in counted)
        for lane in counted:
            assert lane.rows == sum(request.input.rows for request in lane.requests)
