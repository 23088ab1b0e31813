"""A shadow's records, as they are read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.kafka_record import KafkaRecord
from topicserve.wire.shadow_record import decode_shadow_record, is_shadow_record


def a_record(value: bytes, kind: bytes = b"topicserve.shadow") -> KafkaRecord:
    """Return a record of the shadow topic."""
    return KafkaRecord("shadow", 0, 0, 0, None, value, [("ce_type", kind)])


def test_both_answers_are_read() -> None:
    """With the id that they share."""
    record = a_record(b'{"id":"order-1","primary":{"a":1},"shadow":{"a":2}}')

    read = decode_shadow_record(record)

    assert (read.record_id, read.primary, read.shadow) == ("order-1", {"a": 1}, {"a": 2})
    assert is_shadow_record(record)
    assert not is_shadow_record(a_record(b"", b"topicserve.result"))


@given(st.binary() | st.sampled_from([b"[]", b"{}", b"5", b'{"id":1,"primary":2,"shadow":3}']))
def test_no_bytes_raise_anything_else(value: bytes) -> None:
    """What is no such record is refused by its field."""
    with pytest.raises(InvalidRecordError) as caught:
        decode_shadow_record(a_record(value))

    assert caught.value.field == "value"
