"""The size of a record's own batch: what brokers compare with a topic's limit."""

from hypothesis import given
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatchBuilder

from topicserve.wire.kafka_record import OutgoingRecord, TopicIdentity, batch_bytes

SIZES = st.sampled_from([0, 1, 63, 64, 65, 8191, 8192, 1_048_575, 1_048_576])
DATA = st.none() | SIZES.map(bytes)
HEADERS = st.lists(st.tuples(st.text(max_size=70), DATA), max_size=70)


@given(DATA, DATA, HEADERS)
def test_the_size_is_that_of_the_batch_that_a_client_makes(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    """Byte by byte: what is said to be too large is so, and nothing else."""
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 2**31 - 1)
    builder.append(0, 1_700_000_000_000, key, value, headers)

    assert batch_bytes(OutgoingRecord("t", key, value, headers)) == len(builder.build())


def test_an_id_is_written_as_kafkas_tools_write_it() -> None:
    """With the two characters that are safe in a URL; zeros are none."""
    assert TopicIdentity.of("c", b"\xfb\xff" + bytes(13) + b"\xff") == (
        "c",
        "-_8AAAAAAAAAAAAAAAAA_w",
    )
    assert TopicIdentity.of(None, bytes(16)) == ("", "")
    assert TopicIdentity.of("c", b"") == ("c", "")
