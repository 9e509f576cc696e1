"""SipHash-1-3 over spans of a buffer: the one hash of keys and of the window of repeats.

Names that somebody chose mix as well as any others, and it is fast enough for several per event. Its keys are public (a
replay must agree), so whoever needs certainty compares bytes as well.
Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012), with one compression and three finalisation
rounds, which is also what CPython hashes its strings with.
"""

import numpy as np

from .kernels import helper
from .words import little64

U = np.uint64


@helper
def _turn(x, bits):  # type: ignore[no-untyped-def]
    """`x` rotated left."""
    return (x << U(bits)) | (x >> U(64 - bits))


@helper
def _round(v0, v1, v2, v3):  # type: ignore[no-untyped-def]
    """One SipRound."""
    v0 += v1
    v1 = _turn(v1, 13) ^ v0
    v0 = _turn(v0, 32)
    v2 += v3
    v3 = _turn(v3, 16) ^ v2
    v0 += v3
    v3 = _turn(v3, 21) ^ v0
    v2 += v1
    v1 = _turn(v1, 17) ^ v2
    v2 = _turn(v2, 32)
    return v0, v1, v2, v3


@helper
def sip64(buf, start, length, k0, k1):  # type: ignore[no-untyped-def]
    """SipHash-1-3 (uint64) of `length` bytes of `buf` from `start`, under the key `k0`, `k1` (uint64 each)."""
    k0 = U(k0)
    k1 = U(k1)
    v0 = k0 ^ U(0x736F6D6570736575)
    v1 = k1 ^ U(0x646F72616E646F6D)
    v2 = k0 ^ U(0x6C7967656E657261)
    v3 = k1 ^ U(0x7465646279746573)
    p = U(start)
    tail = p + (U(length) & ~U(7))
    while p < tail:
        word = little64(buf, p)
        v0, v1, v2, v3 = _round(v0, v1, v2, v3 ^ word)
        v0 ^= word
        p += U(8)
    word = U(length) << U(56)
    shift = U(0)
    end = U(start) + U(length)
    while p < end:
        word |= U(buf[p]) << shift
        shift += U(8)
        p += U(1)
    v0, v1, v2, v3 = _round(v0, v1, v2, v3 ^ word)
    v0 ^= word
    v2 ^= U(0xFF)
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    return v0 ^ v1 ^ v2 ^ v3
