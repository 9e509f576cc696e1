"""Zig-zag variable-length integers, the one number format that Avro and Kafka's record batches share.

Source of the format: Avro 1.12 specification, "Primitive Types"; Kafka protocol guide, "Varint". At most ten bytes; a
reader here never looks past `end`: it answers a position of -1 instead, and the caller refuses the record.
"""

from __future__ import annotations

import numpy as np

from .kernels import helper

U = np.uint64
# Indices are unsigned: numba lets a signed one count from the end, which costs at every byte.


@helper
def get(buf, p, end):  # type: ignore[no-untyped-def]
    """The number at `p` and the position after it; position -1 when it does not end before `end` or is over-long."""
    value = U(0)
    shift = U(0)
    while p < end and shift < U(70):
        byte = U(buf[U(p)])
        p += 1
        if shift == U(63) and byte > U(1):
            return np.int64(0), np.int64(-1)
        value |= (byte & U(0x7F)) << shift
        if byte < U(0x80):
            return np.int64(value >> U(1)) ^ -np.int64(value & U(1)), np.int64(p)
        shift += U(7)
    return np.int64(0), np.int64(-1)


@helper
def put(out, p, value):  # type: ignore[no-untyped-def]
    """Write `value` at `p`; answers the position after it."""
    bits = U((value << 1) ^ (value >> 63))
    while bits > U(0x7F):
        out[U(p)] = np.uint8(bits & U(0x7F)) | np.uint8(0x80)
        p += 1
        bits >>= U(7)
    out[U(p)] = np.uint8(bits)
    return p + 1


def encoded(value: int) -> bytes:
    """The bytes of `value`, for what is written one at a time."""
    bits = (value << 1) ^ (value >> 63)
    out = bytearray()
    while bits > 0x7F:
        out.append(bits & 0x7F | 0x80)
        bits >>= 7
    out.append(bits)
    return bytes(out)


@helper
def size(value):  # type: ignore[no-untyped-def]
    """How many bytes `put` writes for `value`."""
    bits = U((value << 1) ^ (value >> 63))
    count = 1
    while bits > U(0x7F):
        bits >>= U(7)
        count += 1
    return count
