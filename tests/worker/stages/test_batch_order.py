import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.stages.records import PARTITION, ROUTE
from topicserve.worker.offsets.assignment import PartitionAssignment
from topicserve.worker.stages.batch import PublishOrder
from topicserve.worker.stages.request import Batch


def cut(*assignments: PartitionAssignment) -> Batch:
    """Return an empty batch that takes its turn in these partitions, as the batcher cuts it."""
    turns = {}
    for assignment in assignments:
        turns[assignment] = assignment.cut
        assignment.cut += 1
    return Batch(ROUTE, 0, [], [], 0, 0.0, turns=turns)


class World:
    """Some partitions, and what was settled of them."""

    def __init__(self, partitions: int) -> None:
        self.order = PublishOrder()
        self.assignments = [PartitionAssignment(PARTITION) for _ in range(partitions)]
        self.settled: list[list[int]] = [[] for _ in range(partitions)]
        self.batches: list[Batch] = []

    def cut(self, *partitions: int) -> Batch:
        """Cut a batch with records of these partitions."""
        batch = cut(*(self.assignments[partition] for partition in partitions))
        self.batches.append(batch)
        return batch

    def settle(self, batch: Batch) -> None:
        """Settle a batch, and note its number for each partition that is settled of it."""
        number = self.batches.index(batch)

        def settle(assignments: object) -> None:
            for assignment in batch.turns if assignments is None else assignments:  # type: ignore[attr-defined]
                self.settled[self.assignments.index(assignment)].append(number)

        self.order.settle(batch, settle)


@given(st.data())
def test_each_partition_is_settled_in_the_order_it_was_cut(data: st.DataObject) -> None:
    """Whatever partitions batches share, and in whatever order they come."""
    world = World(4)
    shares = data.draw(st.lists(st.sets(st.integers(0, 3)), max_size=12))
    batches = [world.cut(*share) for share in shares]

    for batch in data.draw(st.permutations(batches)):
        world.settle(batch)

    expected = [[n for n, share in enumerate(shares) if one in share] for one in range(4)]
    assert world.settled == expected
    assert world.order.waiting() == []


def test_a_batch_that_never_comes_holds_back_its_own_partitions_alone() -> None:
    """Records of other partitions go on beside it, also those of batches that share some."""
    world = World(2)
    world.cut(0)  # it hangs
    mixed, other = world.cut(0, 1), world.cut(1)

    world.settle(mixed)
    world.settle(other)

    assert world.settled == [[], [1, 2]]
    assert world.order.waiting() == [world.assignments[0]]


def test_a_batch_whose_turn_comes_everywhere_is_settled_as_a_whole() -> None:
    """Each part would cost a look at all of its records, and a list of its own to send."""
    world = World(3)
    first, other = world.cut(0, 1), world.cut(2)
    waiting = world.cut(0, 1, 2)
    calls: list[object] = []

    world.order.settle(waiting, calls.append)
    world.settle(other)
    world.settle(first)

    assert calls == [{world.assignments[2]}, {world.assignments[0], world.assignments[1]}]

    before, whole = world.cut(0, 1, 2), world.cut(0, 1, 2)
    world.order.settle(whole, calls.append)
    world.settle(before)

    assert calls[2:] == [None]


def test_batches_settle_in_order_from_many_threads() -> None:
    """However their threads come to it, and none of them waits."""
    world = World(1)
    batches = [world.cut(0) for _ in range(20)]

    threads = [threading.Thread(target=world.settle, args=(one,)) for one in reversed(batches)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert world.settled == [list(range(20))]


def test_a_batch_that_fails_to_settle_lets_the_next_pass() -> None:
    """Whatever became of it, it has had its turn."""
    world = World(1)
    failing, after = world.cut(0), world.cut(0)

    def fail(_: object) -> None:
        raise ValueError("failed")

    with pytest.raises(ValueError, match="failed"):
        world.order.settle(failing, fail)
    world.settle(after)

    assert world.settled == [[1]]
