import threading

from tests.support.records import ROUTE
from topicserve.worker.request import Batch
from topicserve.worker.turns import Turns


def a_batch(sequence: int, epoch: int = 0) -> Batch:
    """Return an empty batch that was cut at that point."""
    return Batch(ROUTE, epoch, sequence, [], [], 0, 0.0)


def test_batches_pass_in_the_order_they_were_cut() -> None:
    """However their threads come to it."""
    turns, passed = Turns(), list[int]()

    def live(sequence: int) -> None:
        with turns.turn(a_batch(sequence)):
            passed.append(sequence)

    threads = [threading.Thread(target=live, args=(number,)) for number in (3, 2, 1, 0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert passed == [0, 1, 2, 3]


def test_epochs_do_not_wait_for_one_another_here() -> None:
    """A batch of an epoch that was given up must not hold up the next epoch's."""
    turns = Turns()
    with turns.turn(a_batch(0, epoch=1)), turns.turn(a_batch(0, epoch=0)):
        pass


def test_a_failed_batch_lets_the_next_pass() -> None:
    """Whatever became of it, it has had its turn."""
    turns = Turns()
    try:
        with turns.turn(a_batch(0)):
            raise ValueError("failed")
    except ValueError:
        pass

    with turns.turn(a_batch(1)):
        pass
