"""Integers of a fixed size inside a buffer, read by kernels; spelt so that they compile to one load each.

Bounds are the caller's: nothing here looks where the buffer ends.
"""

import numpy as np

from .kernels import helper

U = np.uint64


@helper
def little64(buf, p):  # type: ignore[no-untyped-def]
    """The eight bytes at `p` (uint64) as an unsigned number, little endian."""
    return (
        U(buf[p])
        | U(buf[p + U(1)]) << U(8)
        | U(buf[p + U(2)]) << U(16)
        | U(buf[p + U(3)]) << U(24)
        | U(buf[p + U(4)]) << U(32)
        | U(buf[p + U(5)]) << U(40)
        | U(buf[p + U(6)]) << U(48)
        | U(buf[p + U(7)]) << U(56)
    )


@helper
def big64(buf, p):  # type: ignore[no-untyped-def]
    """The eight bytes at `p` as a signed number (int64), big endian."""
    return (big32(buf, p) << np.int64(32)) | (big32(buf, p + 4) & np.int64(0xFFFFFFFF))


@helper
def big32(buf, p):  # type: ignore[no-untyped-def]
    """The four bytes at `p` as a signed number (int64), big endian."""
    return (big16(buf, p) << np.int64(16)) | (big16(buf, p + 2) & np.int64(0xFFFF))


@helper
def big16(buf, p):  # type: ignore[no-untyped-def]
    """The two bytes at `p` as a signed number (int64), big endian."""
    return (np.int64(np.int8(buf[p])) << np.int64(8)) | np.int64(buf[p + 1])
