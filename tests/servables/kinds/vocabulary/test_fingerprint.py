"""Fingerprints are TensorFlow's."""

import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from topicserve.servables.kinds.vocabulary.fingerprint import fingerprint64


@given(st.integers(0, 300).flatmap(lambda size: st.binary(min_size=size, max_size=size)))
def test_buckets_are_tensorflows(text: bytes) -> None:
    """TensorFlow puts each string, of whatever length, into the same bucket."""
    buckets = 2**62

    bucket = tf.strings.to_hash_bucket_fast(text, buckets).numpy()

    assert fingerprint64(text) % buckets == bucket
