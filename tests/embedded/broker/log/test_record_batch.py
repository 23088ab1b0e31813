import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.record import MemoryRecords

from tests.support.kafka.record_batches import a_batch, a_payload
from topicserve.embedded.broker.error_codes import ErrorCode, KafkaError
from topicserve.embedded.broker.log.record_batch import (
    first_record_since,
    next_sequence,
    read_batches,
    transaction_marker,
)


def test_header_is_read_as_the_client_wrote_it() -> None:
    """What a log needs is known without unpacking a record."""
    batch = a_batch([b"a", b"b", b"c"], timestamps=[5, 9, 7], producer=(4, 2, 10))

    assert (batch.base_offset, batch.last_offset, batch.max_timestamp) == (0, 2, 9)
    assert (batch.producer_id, batch.producer_epoch) == (4, 2)
    assert (batch.base_sequence, batch.last_sequence) == (10, 12)
    assert not batch.is_control
    assert not batch.is_transactional


def test_placing_moves_offsets_and_keeps_the_checksum_right() -> None:
    """A placed batch is read by a client at its new offsets, unchanged otherwise."""
    placed = a_batch([b"a", b"b"]).at(700)

    records = [record for batch in MemoryRecords(bytes(placed.payload)) for record in batch]
    assert (placed.base_offset, placed.last_offset) == (700, 701)
    assert [(record.offset, record.value) for record in records] == [(700, b"a"), (701, b"b")]
    assert next(read_batches(placed.payload)).last_offset == 701


def test_several_batches_are_read_one_after_the_other() -> None:
    """A produce request or a file may hold more than one."""
    batches = list(read_batches(a_payload([b"a"]) + a_payload([b"b", b"c"])))

    assert [batch.last_offset for batch in batches] == [0, 1]


@pytest.mark.parametrize("length", [0, 11, 60, 61, -1])
def test_a_cut_off_batch_is_corrupt(length: int) -> None:
    """Whatever is missing at the end is noticed (nothing at all is no batch)."""
    cut = a_payload([b"value" * 10])[:length]

    if not cut:
        assert list(read_batches(cut)) == []
        return
    with pytest.raises(KafkaError) as caught:
        list(read_batches(cut))
    assert caught.value.code == ErrorCode.CORRUPT_MESSAGE


@given(st.integers(min_value=21, max_value=200), st.integers(min_value=1, max_value=255))
def test_a_changed_byte_behind_the_checksum_is_noticed(position: int, change: int) -> None:
    """No spoilt record is ever kept."""
    payload = bytearray(a_payload([b"v" * 200]))
    payload[position] ^= change

    with pytest.raises(KafkaError) as caught:
        list(read_batches(bytes(payload)))
    assert caught.value.code == ErrorCode.CORRUPT_MESSAGE


def test_older_formats_are_refused() -> None:
    """Magic 0 and 1 went with Kafka 4."""
    payload = bytearray(a_payload())
    payload[16] = 1

    with pytest.raises(KafkaError) as caught:
        list(read_batches(bytes(payload)))
    assert caught.value.code == ErrorCode.UNSUPPORTED_FOR_MESSAGE_FORMAT


@pytest.mark.parametrize("committed", [True, False])
def test_a_marker_is_the_control_batch_that_clients_know(committed: bool) -> None:
    """A client finds producer and outcome in it, and so do we after a restart."""
    marker = transaction_marker(7, 3, committed=committed).at(12)

    (batch,) = MemoryRecords(bytes(marker.payload))
    (record,) = batch
    assert batch.is_control_batch
    assert batch.is_transactional
    assert (batch.producer_id, batch.producer_epoch, record.offset) == (7, 3, 12)
    assert record.key == (b"\0\0\0\1" if committed else b"\0\0\0\0")
    assert marker.aborts is not committed


def test_records_are_found_by_time() -> None:
    """The first that is not older counts, whatever the order of the timestamps."""
    payload = a_payload([b"a", b"b", b"c"], timestamps=[10, 30, 20])

    assert first_record_since(payload, 15) == (1, 30)
    assert first_record_since(payload, 31) is None


def test_sequences_wrap_before_the_sign_bit() -> None:
    """After the largest number comes zero."""
    assert next_sequence(2**31 - 1) == 0
    assert a_batch([b"a", b"b"], producer=(1, 0, 2**31 - 1)).last_sequence == 0
