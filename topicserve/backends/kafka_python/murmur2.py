"""Kafka's hash of keys, for many keys at once.

kafka-python's own takes 10-30 us of CPU for a UUID, as much as all the rest of sending it. This
takes some 50 us for any number of them, so a few are left to kafka-python.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from kafka.partitioner.default import murmur2 as murmur2_of

_FEW_KEYS = 4
_SEED = 0x9747B28C
_M = np.uint32(0x5BD1E995)
_R = np.uint32(24)


def partitions_of(keys: Sequence[bytes], partitions: int) -> list[int]:
    """Return the partition that Kafka's default partitioner gives each key."""
    if len(keys) <= _FEW_KEYS:
        return [(murmur2_of(key) & 0x7FFFFFFF) % partitions for key in keys]
    positive = murmur2(keys) & np.uint32(0x7FFFFFFF)
    chosen: list[int] = (positive % np.uint32(partitions)).tolist()
    return chosen


def murmur2(keys: Sequence[bytes]) -> Any:
    """Return murmur2 of each key as Kafka computes it, in an array of uint32.

    As in org.apache.kafka.common.utils.Utils.murmur2; keys of one length are hashed together.
    """
    hashes = np.empty(len(keys), np.uint32)
    by_length: dict[int, list[int]] = {}
    for index, key in enumerate(keys):
        by_length.setdefault(len(key), []).append(index)
    for length, indices in by_length.items():
        joined = b"".join([keys[index] for index in indices])
        hashes[indices] = _murmur2_of_length(joined, len(indices), length)
    return hashes


def _murmur2_of_length(joined: bytes, count: int, length: int) -> Any:
    columns = np.frombuffer(joined, np.uint8).reshape(count, length).astype(np.uint32)
    words = columns[:, : length & ~3].reshape(count, length // 4, 4)
    mixed = words[:, :, 0] | words[:, :, 1] << 8 | words[:, :, 2] << 16 | words[:, :, 3] << 24
    mixed *= _M
    mixed ^= mixed >> _R
    mixed *= _M
    hashes = np.full(count, _SEED ^ length, np.uint32)
    for word in range(length // 4):
        hashes *= _M
        hashes ^= mixed[:, word]
    return _finish(hashes, columns[:, length & ~3 :])


def _finish(hashes: Any, rest: Any) -> Any:
    """Mix the last bytes in, fewer than a word, and spread the bits."""
    for index in range(rest.shape[1] - 1, -1, -1):
        hashes ^= rest[:, index] << np.uint32(8 * index)
    if rest.shape[1]:
        hashes *= _M
    hashes ^= hashes >> np.uint32(13)
    hashes *= _M
    hashes ^= hashes >> np.uint32(15)
    return hashes
