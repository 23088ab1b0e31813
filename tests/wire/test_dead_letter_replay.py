import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.stages.records import a_kafka_record
from topicserve.wire.dead_letter import (
    ATTEMPT_HEADER,
    OUR_HEADERS,
    DeadLetter,
    Reason,
    decode_dead_letter,
    encode_dead_letter,
)
from topicserve.wire.dead_letter_fit import fit_dead_letter, size_bytes
from topicserve.wire.dead_letter_replay import attempts_of, is_complete, replay_of
from topicserve.wire.kafka_record import KafkaRecord, OutgoingRecord

HEADERS = st.lists(
    st.tuples(
        st.text(max_size=20).filter(
            lambda name: name not in OUR_HEADERS and not name.startswith("kafka_dlt-")
        ),
        st.none() | st.binary(max_size=20),
    )
)


def given_up(sent: OutgoingRecord, reason: Reason = Reason.PREDICT_FAILED) -> DeadLetter:
    """Return the dead letter of what was sent, after its way through the dead-letter topic."""
    record = KafkaRecord("in", 2, 7, 1700, sent.key, sent.value, sent.headers)
    encoded = encode_dead_letter(DeadLetter(record, reason, "e", "m"), "dead")
    return read_back(encoded)


def read_back(encoded: OutgoingRecord) -> DeadLetter:
    """Return a dead letter as it is read from its topic."""
    return decode_dead_letter(
        KafkaRecord("dead", 0, 1, 1800, encoded.key, encoded.value, encoded.headers)
    )


@given(
    key=st.none() | st.binary(),
    value=st.none() | st.binary(),
    headers=HEADERS,
    times=st.integers(1, 4),
)
def test_what_is_replayed_is_what_was_published_at_first(
    key: bytes | None,
    value: bytes | None,
    headers: list[tuple[str, bytes | None]],
    times: int,
) -> None:
    """However often it comes back: key, value, all headers in order, and how many attempts."""
    headers = [header for header in headers if header[0] != ATTEMPT_HEADER]
    sent = first = OutgoingRecord("in", key, value, headers, 2)

    for _ in range(times):
        sent = replay_of(given_up(sent), "in", 2)

    attempt = (ATTEMPT_HEADER, str(times).encode())
    assert sent == OutgoingRecord("in", first.key, first.value, [*headers, attempt], 2)
    assert attempts_of(given_up(sent)) == times


@pytest.mark.parametrize(
    ("value", "attempts"),
    [(b"3", 3), (b"-3", 0), (b"", 0), (None, 0), (b"9" * 10, 0), (b"\xff", 0), (b"three", 0)],
)
def test_only_a_plain_number_is_an_attempt(value: bytes | None, attempts: int) -> None:
    """A producer may have written anything there."""
    letter = given_up(OutgoingRecord("in", None, b"", [(ATTEMPT_HEADER, value)]))

    assert attempts_of(letter) == attempts
    assert replay_of(letter, "in").headers == [(ATTEMPT_HEADER, str(attempts + 1).encode())]


def test_headers_of_spring_that_we_do_not_write_are_taken_off() -> None:
    """They say why it was given up, which is over."""
    headers = [("kafka_dlt-exception-stacktrace", b"..."), ("a", b"b")]

    replayed = replay_of(given_up(OutgoingRecord("in", b"k", b"v", headers)), "in")

    assert replayed.headers == [("a", b"b"), (ATTEMPT_HEADER, b"1")]


def test_a_dead_letter_that_was_shortened_is_not_complete() -> None:
    """Nor is one that stands for a batch that could not be read."""
    record = a_kafka_record(value=b"x" * 5000)
    encoded = encode_dead_letter(DeadLetter(record, Reason.TIMED_OUT, "e", "m"), "dead")
    fitted = fit_dead_letter(encoded, size_bytes(encoded) - 1)

    assert is_complete(read_back(encoded))
    assert not is_complete(read_back(fitted))
    empty = OutgoingRecord("in", None, None)
    assert not is_complete(given_up(empty, Reason.CORRUPT_BATCH))
    assert not is_complete(given_up(empty, Reason.BATCH_TOO_LARGE))
