from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from topicserve.wire.dead_letter import (
    MAX_MESSAGE_BYTES,
    DeadLetter,
    Reason,
    encode_dead_letter,
)
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.kafka_record import KafkaRecord


def a_record(**changes: Any) -> KafkaRecord:
    """Return a record that no codec would take."""
    headers = [("ce_id", b"7"), ("trace", None), ("trace", b"\xff")]
    return KafkaRecord("in", 3, 2**40, 1_700_000_000_123, b"key", b"{", headers)._replace(**changes)


def test_says_where_the_record_came_from_and_why() -> None:
    """Spring Kafka's names and encodings, plus a reason from the closed set."""
    error = InvalidRecordError("ce_id", "must be a UUID")

    sent = encode_dead_letter(DeadLetter.of(a_record(), Reason.INVALID_RECORD, error), "dead")

    headers = dict(sent.headers)
    assert sent.topic == "dead"
    assert headers["kafka_dlt-original-topic"] == b"in"
    assert headers["kafka_dlt-original-partition"] == b"\0\0\0\x03"
    assert headers["kafka_dlt-original-offset"] == (2**40).to_bytes(8, "big")
    assert headers["kafka_dlt-original-timestamp"] == (1_700_000_000_123).to_bytes(8, "big")
    assert headers["kafka_dlt-exception-fqcn"] == b"topicserve.wire.errors.InvalidRecordError"
    assert headers["kafka_dlt-exception-message"] == b"ce_id: must be a UUID"
    assert headers["topicserve-reason"] == b"invalid_record"


@given(
    key=st.none() | st.binary(),
    value=st.none() | st.binary(),
    headers=st.lists(st.tuples(st.text(), st.none() | st.binary())),
)
def test_key_value_and_headers_are_untouched(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    """Publishing a dead letter's key, value and first headers again repeats the record."""
    record = a_record(key=key, value=value, headers=headers)

    sent = encode_dead_letter(DeadLetter(record, Reason.PREDICT_FAILED, "E", "why"), "dead")

    assert (sent.key, sent.value) == (key, value)
    assert list(sent.headers[: len(headers)]) == headers


def test_a_second_death_replaces_the_first_ones_headers() -> None:
    """A record sent round again does not gather headers without end."""
    first = encode_dead_letter(DeadLetter(a_record(), Reason.INVALID_RECORD, "E", "a"), "dead")
    again = a_record(topic="dead", headers=first.headers)

    second = encode_dead_letter(DeadLetter(again, Reason.INVALID_INPUT, "E", "b"), "dead")

    assert len(second.headers) == len(first.headers)
    assert dict(second.headers)["topicserve-reason"] == b"invalid_input"


@given(st.text(min_size=1))
def test_a_long_message_is_cut_between_characters(text: str) -> None:
    """The reason never makes the record too large, and stays text."""
    message = text * MAX_MESSAGE_BYTES

    sent = encode_dead_letter(DeadLetter(a_record(), Reason.PREDICT_FAILED, "E", message), "dead")

    kept = dict(sent.headers)["kafka_dlt-exception-message"]
    assert kept is not None
    assert len(kept) <= MAX_MESSAGE_BYTES
    assert kept.decode()
