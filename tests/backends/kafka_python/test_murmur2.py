from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner.default import murmur2 as one_at_a_time

from topicserve.backends.kafka_python.murmur2 import murmur2, partitions_of


@given(st.lists(st.binary(max_size=70), max_size=30))
def test_many_keys_hash_as_one_at_a_time(keys: list[bytes]) -> None:
    """Whatever the keys and their lengths, every hash is kafka-python's own."""
    assert [int(found) for found in murmur2(keys)] == [one_at_a_time(key) for key in keys]


def test_hashes_are_those_of_apache_kafka() -> None:
    """The examples of org.apache.kafka.common.utils.UtilsTest.testMurmur2."""
    signed = {
        b"21": -973932308,
        b"foobar": -790332482,
        b"a-little-bit-long-string": -985981536,
        b"a-little-bit-longer-string": -1486304829,
        b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
        b"abc": 479470107,
    }

    assert [int(found) for found in murmur2(list(signed))] == [
        value % 2**32 for value in signed.values()
    ]


@given(st.lists(st.binary(max_size=40), max_size=20), st.integers(1, 1_000))
def test_partitions_follow_the_positive_hash(keys: list[bytes], count: int) -> None:
    """A key's partition is its hash without the sign, modulo their number."""
    assert partitions_of(keys, count) == [(one_at_a_time(key) & 0x7FFFFFFF) % count for key in keys]
