import pytest
from hypothesis import given
from hypothesis import strategies as st

from topicserve.wire.dead_letter import (
    MAX_MESSAGE_BYTES,
    OUR_HEADERS,
    DeadLetter,
    Reason,
    decode_dead_letter,
    encode_dead_letter,
)
from topicserve.wire.dead_letter_fit import SMALLEST_BYTES, fit_dead_letter, size_bytes
from topicserve.wire.kafka_record import KafkaRecord, OutgoingRecord

SIZES = st.integers(0, 3000) | st.sampled_from([10_000, 1_048_230])


def a_letter(
    value: bytes | None = b"{",
    headers: list[tuple[str, bytes | None]] | None = None,
    key: bytes | None = b"key",
    message: str = "why",
) -> OutgoingRecord:
    """Return the dead letter of a record, whole."""
    record = KafkaRecord("in", 3, 7, 1_700_000_000_123, key, value, headers or [])
    return encode_dead_letter(DeadLetter(record, Reason.INVALID_RECORD, "E", message), "dead")


def as_read(sent: OutgoingRecord) -> DeadLetter:
    """Return a dead letter as a reader has it."""
    return decode_dead_letter(KafkaRecord("dead", 0, 0, 0, sent.key, sent.value, sent.headers))


@given(
    value_bytes=SIZES,
    key_bytes=SIZES,
    headers=st.lists(
        st.tuples(st.text(max_size=300) | st.just("ce_id"), st.none() | SIZES.map(bytes)),
        max_size=20,
    ),
    topic=st.text("abc", min_size=1, max_size=249),
    exception=st.text(max_size=600),
    message=st.text(max_size=2 * MAX_MESSAGE_BYTES),
    max_bytes=st.integers(SMALLEST_BYTES, 20_000) | st.just(1_048_588),
)
def test_any_record_gets_a_dead_letter_that_fits(
    value_bytes: int,
    key_bytes: int,
    headers: list[tuple[str, bytes | None]],
    topic: str,
    exception: str,
    message: str,
    max_bytes: int,
) -> None:
    """Whatever the sizes of its parts, and where it came from and why is always told."""
    record = KafkaRecord(topic, 3, 2**40, 5, bytes(key_bytes), bytes(value_bytes), headers)
    letter = encode_dead_letter(
        DeadLetter(record, Reason.INVALID_RECORD, exception, message), "dead"
    )

    found = fit_dead_letter(letter, max_bytes)

    assert size_bytes(found) <= max_bytes
    read = as_read(found)
    assert read.record.topic == topic
    assert (read.record.partition, read.record.offset, read.record.timestamp_ms) == (3, 2**40, 5)
    assert read.reason is Reason.INVALID_RECORD
    assert message.encode(errors="replace").decode().startswith(read.message)


def test_what_fits_is_untouched() -> None:
    """And carries no mark."""
    letter = a_letter()

    assert fit_dead_letter(letter, size_bytes(letter)) is letter
    assert as_read(letter).truncated == ""


@pytest.mark.parametrize(
    ("letter", "truncated"),
    [
        (a_letter(b"v" * 9000), "value=9000"),
        (a_letter(b"value", [("h", b"x" * 9000)]), "headers=9011"),
        (a_letter(b"v" * 9000, [("h", b"x" * 9000)]), "value=9000,headers=9011"),
        (a_letter(b"v" * 9000, [("h", b"")], b"k" * 9000), "value=9000,headers=11,key=9000"),
        (a_letter(None, [], b"k" * 9000), "key=9000"),
    ],
)
def test_the_least_is_left_out_and_named(letter: OutgoingRecord, truncated: str) -> None:
    """The value first, then the headers, then the key; each with its size."""
    read = as_read(fit_dead_letter(letter, 4096))

    assert read.truncated == truncated
    assert read.message == "why"


@pytest.mark.parametrize(
    ("ids", "kept"),
    [
        ([b"01890a5d-ac96-774b-bcce-b302099a8057"], 1),
        (["ü".encode() * 128], 1),
        ([b"a", b"a"], 1),
        ([b"a" * 257], 0),
        ([b"a", b"b"], 0),
        ([b"a\nb"], 0),
        ([b"\xff"], 0),
        ([b""], 0),
        ([None], 0),
        ([], 0),
    ],
)
def test_a_short_id_stays_when_the_headers_are_left_out(ids: list[bytes | None], kept: int) -> None:
    """A reader finds the answer by it; what is no plain text is left out."""
    headers = [("h", bytes(9000)), *(("ce_id", value) for value in ids)]

    for max_bytes in (4096, 1):
        found = fit_dead_letter(a_letter(b"v" * 9000, headers, message="m" * 4000), max_bytes)

        assert [value for name, value in found.headers if name == "ce_id"] == ids[:kept]
        assert "headers=" in as_read(found).truncated
        assert size_bytes(found) <= SMALLEST_BYTES or max_bytes > SMALLEST_BYTES


def test_asking_again_makes_it_smaller_until_nothing_is_left_of_the_record() -> None:
    """So a dead letter that is refused, for whatever reason, is refused a few times at most."""
    letter = a_letter(b"v" * 50_000, [("h", b"x" * 500)], message="m" * 4000)
    sizes: list[int] = []

    while not sizes or size_bytes(letter) < sizes[-1]:
        sizes.append(size_bytes(letter))
        letter = fit_dead_letter(letter, sizes[-1] - 1)

    assert len(sizes) == 4
    assert sizes[-1] < SMALLEST_BYTES
    assert all(name in OUR_HEADERS for name, _ in letter.headers)


def test_a_truncated_dead_letter_that_is_given_up_again_stays_marked() -> None:
    """Who feeds dead letters to a worker loses the value only once."""
    first = fit_dead_letter(a_letter(b"v" * 9000), 4096)
    record = KafkaRecord("dead", 0, 1, 0, first.key, first.value, first.headers)

    letter = DeadLetter.of(record, Reason.INVALID_RECORD, ValueError("empty"))

    assert as_read(encode_dead_letter(letter, "dead.dead")).truncated == "value=9000"
