"""Where Kafka's Java clients send a key: murmur2 and the partition that follows from it.

An agent's events of all sources, and its state, meet in one partition only if every producer computes this alike.
Source: `org.apache.kafka.common.utils.Utils.murmur2` and `toPositive`; librdkafka calls it `murmur2_random`.
"""

from __future__ import annotations

import numpy as np

from .kernels import helper, kernel

W = np.uint32
U = np.uint64
_M = W(0x5BD1E995)
_SEED = W(0x9747B28C)


@helper
def murmur2(buf, start, length):  # type: ignore[no-untyped-def]
    """The non-negative hash (int64, 31 bits) of `length` bytes of `buf` from `start`."""
    h = _SEED ^ W(length)
    p = U(start)
    end = p + U(length)
    tail = p + (U(length) & ~U(3))
    while p < tail:
        k = W(buf[p]) | W(buf[p + U(1)]) << W(8) | W(buf[p + U(2)]) << W(16) | W(buf[p + U(3)]) << W(24)
        k = W(k * _M)
        k = W((k ^ (k >> W(24))) * _M)
        h = W(h * _M) ^ k
        p += U(4)
    if p < end:
        shift = W(0)
        while p < end:
            h ^= W(buf[p]) << shift
            shift += W(8)
            p += U(1)
        h = W(h * _M)
    h = W((h ^ (h >> W(13))) * _M)
    h ^= h >> W(15)
    return np.int64(h & W(0x7FFFFFFF))


@kernel("int64(uint8[::1])")
def _hash(key):  # type: ignore[no-untyped-def]
    """murmur2 of a whole key."""
    return murmur2(key, 0, len(key))


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of `key` in a topic of `partitions` partitions, as Kafka's default partitioner sends it."""
    return int(_hash(np.frombuffer(bytearray(key), np.uint8))) % partitions
