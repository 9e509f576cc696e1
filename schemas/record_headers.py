"""Headers of a record, found where the record lies: most records have none, and the pipeline carries one of them on.

A span of headers (`hs`, `hl` of a `ColumnBatch`) is their count, then name and nullable value of each, with lengths as
variable-length integers. Spans come from `recordbatch.read`, which has seen that they add up.
"""

from __future__ import annotations

import numpy as np

from .columns import NULL_LENGTH, Bytes, ColumnBatch, Longs
from .kernels import helper, kernel
from .varint import get

NO_HEADERS = 1
"""Length of the span of a record without headers: the count alone."""


def find_header(buf: Bytes, hs: Longs, hl: Longs, name: bytes) -> tuple[Longs, Longs]:
    """Start and length, each of shape (n,), of the value of header `name`; length -1 where there is none, or null.

    The last one counts, as in Kafka's own `lastHeader`.
    """
    found: tuple[Longs, Longs] = _find(buf, hs, hl, np.frombuffer(bytearray(name), np.uint8))
    return found


def headers(buf: Bytes, hs: int, hl: int) -> list[tuple[str, bytes | None]]:
    """All headers of one record, copied out; what is not UTF-8 in a name becomes U+FFFD."""
    span = buf[hs : hs + hl].tobytes()
    found = []
    left, p = _number(span, 0)
    for _ in range(left):
        name, p = _text(span, p)
        value, p = _text(span, p)
        found.append(((name or b"").decode(errors="replace"), value))
    return found


def headers_of(batch: ColumnBatch, i: int) -> list[tuple[str, bytes | None]]:
    """All headers of record `i`, copied out."""
    return headers(batch.buf, int(batch.hs[i]), int(batch.hl[i]))


def _text(span: bytes, p: int) -> tuple[bytes | None, int]:
    length, p = _number(span, p)
    return (None, p) if length < 0 else (span[p : p + length], p + length)


def _number(span: bytes, p: int) -> tuple[int, int]:
    """The variable-length integer at `p`, and the position after it."""
    bits = shift = 0
    while True:
        bits |= (span[p] & 0x7F) << shift
        p += 1
        if span[p - 1] < 0x80:
            return bits >> 1 ^ -(bits & 1), p
        shift += 7


@helper
def _equal(buf, start, length, name):  # type: ignore[no-untyped-def]
    """Whether the span is `name`."""
    if length != len(name):
        return False
    for k in range(length):  # noqa: SIM110
        if buf[start + k] != name[k]:
            return False
    return True


@kernel("UniTuple(int64[::1], 2)(uint8[::1], int64[::1], int64[::1], uint8[::1])")
def _find(buf, hs, hl, name):  # type: ignore[no-untyped-def]
    """As `find_header`; looks at nothing outside a span, whatever it holds."""
    starts = np.zeros(len(hs), np.int64)
    lengths = np.full(len(hs), np.int64(NULL_LENGTH))
    for i in range(len(hs)):
        if hl[i] <= NO_HEADERS:
            continue
        end = hs[i] + hl[i]
        left, p = get(buf, hs[i], end)
        while left > 0 and p >= 0:
            size, at = get(buf, p, end)
            if at < 0 or size < 0 or size > end - at:
                break
            length, value = get(buf, at + size, end)
            if value < 0 or length > end - value:
                break
            if _equal(buf, at, size, name):
                starts[i] = value
                lengths[i] = max(length, np.int64(NULL_LENGTH))
            p = value + max(length, np.int64(0))
            left -= 1
    return starts, lengths
