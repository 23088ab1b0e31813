import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from topicserve.wire.dead_letter import (
    MAX_MESSAGE_BYTES,
    OUR_HEADERS,
    DeadLetter,
    Reason,
    decode_dead_letter,
    encode_dead_letter,
)
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.kafka_record import KafkaRecord, OutgoingRecord


def a_record(**changes: Any) -> KafkaRecord:
    """Return a record that no codec would take."""
    headers = [("ce_id", b"7"), ("trace", None), ("trace", b"\xff")]
    return replace(KafkaRecord("in", 3, 2**40, 1_700_000_000_123, b"key", b"{", headers), **changes)


def as_polled(sent: OutgoingRecord) -> KafkaRecord:
    """Return what was published as a reader polls it."""
    return KafkaRecord(sent.topic, 0, 0, 0, sent.key, sent.value, sent.headers)


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


@given(
    partition=st.integers(0, 2**31 - 1),
    offset=st.integers(0, 2**63 - 1),
    key=st.none() | st.binary(),
    value=st.none() | st.binary(),
    reason=st.sampled_from(Reason),
    message=st.text(max_size=100),
)
def test_a_dead_letter_is_read_as_it_was_given_up(
    partition: int,
    offset: int,
    key: bytes | None,
    value: bytes | None,
    reason: Reason,
    message: str,
) -> None:
    """Topic, partition, offset, time, key, value and headers are the original record's."""
    record = a_record(partition=partition, offset=offset, key=key, value=value)
    letter = DeadLetter(record, reason, "builtins.ValueError", message)

    assert decode_dead_letter(as_polled(encode_dead_letter(letter, "dead"))) == letter


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("kafka_dlt-original-topic", None, "missing"),
        ("kafka_dlt-original-topic", b"\xff", "UTF-8"),
        ("kafka_dlt-original-partition", b"1", "4-byte"),
        ("kafka_dlt-original-offset", None, "missing"),
        ("topicserve-reason", b"mood", "mood"),
    ],
)
def test_what_is_no_dead_letter_is_refused_by_its_header(
    name: str, value: bytes | None, problem: str
) -> None:
    """The error names the header that is missing or wrong."""
    letter = DeadLetter(a_record(), Reason.INVALID_RECORD, "E", "why")
    polled = as_polled(encode_dead_letter(letter, "dead"))
    spoilt = [header for header in polled.headers if header[0] != name]
    spoilt += [(name, value)] if value is not None else []

    with pytest.raises(InvalidRecordError, match=problem) as caught:
        decode_dead_letter(replace(polled, headers=spoilt))

    assert caught.value.field == name


@given(headers=st.dictionaries(st.sampled_from(sorted(OUR_HEADERS)), st.none() | st.binary()))
def test_no_headers_raise_anything_else(headers: dict[str, bytes | None]) -> None:
    """Whatever stands in a dead-letter topic, reading it gives one kind of error."""
    with contextlib.suppress(InvalidRecordError):
        decode_dead_letter(a_record(headers=list(headers.items())))
