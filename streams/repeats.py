"""Which records a lane has seen lately: the window in which a repeated event is told from a new one.

Producers send again when an answer was lost, so an event may lie in its topic twice. Per source partition the last
65,536 valid records are remembered by two SipHashes: of key with event id, and of the value. Same id and same value is
a repeat; same id and another value is an error of the producer. Entries of a bucket are chained from the newest to the
oldest, as LZ77 does: the newest is met first, an entry that left the window ends its chain by its number, and nothing
is ever deleted.
"""

from __future__ import annotations

import numba
import numpy as np
from numba import types

from schemas.avro_decode import BYTES
from schemas.columns import Longs
from schemas.kernels import inlined, kernel
from schemas.siphash import sip64

from .table import key_hash

U = np.uint64
_L = types.int64[::1]
_M = types.int64[:, ::1]

SEEN = np.dtype(
    (
        np.record,
        [
            ("identity", np.uint64),  # hash of key and event id
            ("value", np.uint64),  # hash of the value
            ("before", np.int64),  # number of the record before it in the bucket, -1: none
            ("offset", np.int64),
        ],
    )
)
_R = numba.from_dtype(SEEN)[::1]

WINDOW = 65_536
"""Valid records per source partition in which repeats are looked for (a power of two)."""

K_ID, K_VALUE0, K_VALUE1 = 0x6576656E742D6964, 0x76616C7565, 0x72657065617473
"""Keys of the SipHashes of ids and values; public, because a replay must agree."""

NEW, REPEAT, REUSED = 0, 1, 2
"""What the window says of a record."""


@inlined
def id_hash(key_hash, buf, start, length):  # type: ignore[no-untyped-def]
    """SipHash of the event id, keyed by the hash of the record's key: of both together."""
    return sip64(buf, start, length, U(key_hash), U(K_ID))


@inlined
def value_hash(buf, start, length):  # type: ignore[no-untyped-def]
    """SipHash of the value's bytes."""
    return sip64(buf, start, length, U(K_VALUE0), U(K_VALUE1))


@inlined
def bucket_of(heads, identity):  # type: ignore[no-untyped-def]
    """Where the newest record of this identity begins its chain."""
    return np.int64(U(identity) & U(len(heads) - 1))


@inlined
def recall(ring, heads, seen, identity, value):  # type: ignore[no-untyped-def]
    """NEW, REPEAT or REUSED for a record, by the newest record of the window with the same identity."""
    number = heads[bucket_of(heads, identity)]
    while number >= 0 and number >= seen[0] - len(ring):
        entry = ring[number & (len(ring) - 1)]
        if entry.identity == U(identity):
            return REPEAT if entry.value == U(value) else REUSED
        number = entry.before
    return NEW


@inlined
def remember(ring, heads, seen, identity, value, offset):  # type: ignore[no-untyped-def]
    """Enter a valid record; the oldest of a full window leaves."""
    bucket = bucket_of(heads, identity)
    entry = ring[seen[0] & (len(ring) - 1)]
    entry.identity = U(identity)
    entry.value = U(value)
    entry.before = heads[bucket]
    entry.offset = offset
    heads[bucket] = seen[0]
    seen[0] += 1


@kernel(types.void(BYTES, _L, _L, _L, _L, _L, _M, _L, _L, _R, _L, _L))
def refill(buf, off, ks, kl, vs, vl, m, spans, error, ring, heads, seen):  # type: ignore[no-untyped-def]
    """Enter all records without an `error`, as admission entered them when they were decided."""
    for i in range(len(off)):
        if error[i] == 0 and kl[i] > 0:
            key = U(key_hash(buf, ks[i], kl[i]))
            identity = U(id_hash(key, buf, m[spans[2], i], m[spans[2] + 1, i]))
            remember(ring, heads, seen, identity, U(value_hash(buf, vs[i], vl[i])), off[i])


@kernel(types.void(_R, _R, _L, _L))
def enter(kept, ring, heads, seen):  # type: ignore[no-untyped-def]
    """Enter records that a window gave back, oldest first."""
    for i in range(len(kept)):
        entry = kept[i]
        remember(ring, heads, seen, entry.identity, entry.value, entry.offset)


class Window:
    """The last `size` valid records of one source partition.

    `ring`: the records, dtype SEEN. `heads`: newest record per bucket. `seen[0]`: valid records so far, the number of
    the next.
    """

    def __init__(self, size: int = WINDOW) -> None:
        if size & (size - 1):
            raise ValueError(f"a window of {size} records: need a power of two")
        self.ring = np.zeros(size, SEEN)
        self.heads: Longs = np.full(2 * size, -1, np.int64)
        self.seen: Longs = np.zeros(1, np.int64)

    @property
    def oldest(self) -> int | None:
        """Offset of the oldest record in the window: reading from there on fills it again. None when empty."""
        size, seen = len(self.ring), int(self.seen[0])
        return int(self.ring["offset"][seen % size if seen >= size else 0]) if seen else None

    def forget_before(self, offset: int) -> None:
        """Keep the records from `offset` on alone, as if no other had ever been entered: what a restart does that finds
        no older ones.
        """
        oldest = self.oldest
        if oldest is None or oldest >= offset:
            return
        size, seen = len(self.ring), int(self.seen[0])
        known = self.ring[np.arange(max(0, seen - size), seen) & (size - 1)]
        self.heads[:] = -1
        self.seen[0] = 0
        enter(known[known["offset"] >= offset], self.ring, self.heads, self.seen)
