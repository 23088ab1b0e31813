import pytest

from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.delivery.epochs import Epochs
from topicserve.worker.offsets.tracker import Slot
from topicserve.worker.runtime.retry import AbandonedError
from topicserve.worker.stages.publish import Outgoing

CUT = {Slot(TopicPartition("in", 0)): 7}


def outcome() -> Outgoing:
    """Return what came of a batch of no records."""
    return Outgoing("network", 1)


def test_an_epoch_is_cut_once_it_holds_anything() -> None:
    """And not while the one before it is still to be committed."""
    epochs = Epochs()
    assert not epochs.may_cut()
    epochs.admit(3)
    assert epochs.may_cut()

    epochs.cut(CUT, "metadata")
    epochs.admit(1)

    assert (epochs.publishing, epochs.gathering) == (0, 1)
    assert not epochs.may_cut()


def test_an_epoch_is_complete_when_it_is_cut_and_nothing_is_owed() -> None:
    """Then its turn has come."""
    epochs = Epochs()
    epochs.admit(0)
    assert epochs.add(0, outcome())
    assert not epochs.current.complete

    epochs.cut(CUT, "metadata")

    assert epochs.current.complete
    assert epochs.wait_complete()
    epochs.committed()
    assert epochs.wait_past(0, 0)


def test_outcomes_of_what_was_begun_anew_are_refused() -> None:
    """Those that were there already are handed back, to be let go."""
    epochs = Epochs()
    held = outcome()
    epochs.admit(1)
    epochs.add(0, held)
    epochs.doom("lost")
    epochs.doom("what followed from it")

    assert epochs.doomed == "lost"
    assert epochs.wait_doomed(0)
    assert epochs.begin_anew() == [held]
    assert epochs.doomed is None
    assert not epochs.add(0, outcome())
    assert epochs.add(epochs.gathering, outcome())


def test_nothing_is_added_once_closed() -> None:
    """Anyone who waits for an epoch is told that none will come."""
    epochs = Epochs()
    epochs.close()

    assert not epochs.wait_complete()
    with pytest.raises(AbandonedError):
        epochs.add(0, outcome())
