import pytest

from tests.support.kafka.record_batches import a_batch
from topicserve.embedded.broker.error_codes import ErrorCode, KafkaError
from topicserve.embedded.broker.log.producer_states import ProducerStates
from topicserve.embedded.broker.log.record_batch import transaction_marker


def add(states: ProducerStates, epoch: int, sequence: int, offset: int) -> None:
    """Append a batch of two records."""
    states.add(a_batch([b"a", b"b"], producer=(1, epoch, sequence)).at(offset))


def check(states: ProducerStates, epoch: int, sequence: int) -> int | None:
    """Check a batch of two records."""
    return states.check(a_batch([b"a", b"b"], producer=(1, epoch, sequence)))


def test_the_next_batch_is_new() -> None:
    """Sequences without a gap are appended."""
    states = ProducerStates()
    add(states, 0, 0, 0)

    assert check(states, 0, 2) is None


def test_a_repeated_batch_has_the_offset_of_the_first_time() -> None:
    """Any of the last five that is sent again is acknowledged and not appended."""
    states = ProducerStates()
    for number in range(6):
        add(states, 0, 2 * number, 100 + 2 * number)

    assert [check(states, 0, 2 * number) for number in range(1, 6)] == [102, 104, 106, 108, 110]
    with pytest.raises(KafkaError):
        check(states, 0, 0)


@pytest.mark.parametrize(("epoch", "sequence"), [(0, 4), (0, 1), (1, 2)])
def test_a_gap_is_refused(epoch: int, sequence: int) -> None:
    """Within an epoch numbers follow on, and a new epoch begins with zero."""
    states = ProducerStates()
    add(states, 0, 0, 0)

    with pytest.raises(KafkaError) as caught:
        check(states, epoch, sequence)
    assert caught.value.code == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER


def test_a_marker_fences_the_epochs_before_its_own() -> None:
    """After an abort by the coordinator the old producer's records are refused."""
    states = ProducerStates()
    add(states, 0, 0, 0)
    states.add(transaction_marker(1, 1, committed=False).at(2))

    with pytest.raises(KafkaError) as caught:
        check(states, 0, 2)
    assert caught.value.code == ErrorCode.INVALID_PRODUCER_EPOCH
    assert check(states, 1, 0) is None


def test_producers_go_with_their_last_record() -> None:
    """What is remembered is bounded by what is retained; an unknown producer may go on."""
    states = ProducerStates()
    add(states, 3, 0, 0)

    states.forget_before(2)

    assert check(states, 0, 40) is None
