import pytest

from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.delivery.epochs import Epochs
from topicserve.worker.offsets.assignment import PartitionAssignment
from topicserve.worker.runtime.retry import ShutdownRequestedError
from topicserve.worker.stages.publish import OutgoingBatch

CUT = {PartitionAssignment(TopicPartition("in", 0)): 7}


def outcome() -> OutgoingBatch:
    """Return what came of a batch of no records."""
    return OutgoingBatch("network", 1)


def test_an_epoch_is_cut_once_it_holds_anything() -> None:
    """And not while the one before it is still to be committed."""
    epochs = Epochs()
    assert not epochs.may_seal()
    epochs.admit(3)
    assert epochs.may_seal()

    epochs.seal(CUT, "metadata")
    epochs.admit(1)

    assert (epochs.committing_epoch, epochs.open_epoch) == (0, 1)
    assert not epochs.may_seal()


def test_an_epoch_is_complete_when_it_is_cut_and_nothing_is_owed() -> None:
    """Then its turn has come."""
    epochs = Epochs()
    epochs.admit(0)
    assert epochs.add(0, outcome())
    assert not epochs.current.complete

    epochs.seal(CUT, "metadata")

    assert epochs.current.complete
    assert epochs.wait_complete()
    epochs.committed()
    assert epochs.wait_committed(0, 0)


def test_outcomes_of_what_was_begun_anew_are_refused() -> None:
    """Those that were there already are handed back, to be let go."""
    epochs = Epochs()
    held = outcome()
    epochs.admit(1)
    epochs.add(0, held)
    epochs.mark_aborted("lost")
    epochs.mark_aborted("what followed from it")

    assert epochs.abort_reason == "lost"
    assert epochs.reset() == [held]
    assert epochs.abort_reason is None
    assert not epochs.add(0, outcome())
    assert epochs.add(epochs.open_epoch, outcome())


def test_nothing_is_added_once_closed() -> None:
    """Anyone who waits for an epoch is told that none will come."""
    epochs = Epochs()
    epochs.close()

    assert not epochs.wait_complete()
    with pytest.raises(ShutdownRequestedError):
        epochs.add(0, outcome())
