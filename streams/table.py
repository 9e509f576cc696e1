"""What a lane knows of its agents: a key index and, per stage, one structured array with a row per agent.

Rows are numbered in the order in which agents came and never move or go, so a row number is an agent everywhere else.
Keys lie one after the other in an arena (row r is `arena[ends[r]:ends[r + 1]]`); the index is open addressing over
8-byte slots of 32 hash bits and row + 1, so that a look-up that misses reads no key. SipHash keeps a tenant from
colliding keys on purpose, and bytes are compared before a key counts as known. Arrays grow by doubling; pages never
written cost no memory, so an agent costs its rows, its key and about 20 bytes of index.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from schemas.avro_decode import BYTES
from schemas.columns import Bytes, Longs
from schemas.kernels import helper, inlined, kernel
from schemas.memory import load64
from schemas.siphash import sip64

from .priority import HABIT
from .ratelimit import LIMIT
from .trust import REGISTERED, TRUST

U = np.uint64
_L = types.int64[::1]

K0, K1 = 0x636F676E69737472, 0x65616D2E6B657973
"""Key of the SipHash of agent keys; public, because a replay must agree."""

MAX_KEY = 193
"""Bytes of the longest key: tenant of 64, a slash, agent of 128."""

ROWS, USED, UNREGISTERED, TOUCHED = 0, 1, 2, 3
"""Places in `StateTable.meta`: rows, bytes of keys, rows not registered, rows touched in this step."""


@inlined
def key_hash(buf, start, length):  # type: ignore[no-untyped-def]
    """SipHash of a key, as a uint64."""
    return sip64(buf, start, length, U(K0), U(K1))


@inlined
def same(a, p, b, q, length):  # type: ignore[no-untyped-def]
    """Whether `length` bytes of `a` from `p` and of `b` from `q` are equal."""
    differs = U(0)
    if length < 8:
        for k in range(length):
            differs |= U(a[p + k] ^ b[q + k])
        return differs == U(0)
    for k in range(0, length - 8, 8):
        differs |= load64(a, p + k) ^ load64(b, q + k)
    differs |= load64(a, p + length - 8) ^ load64(b, q + length - 8)
    return differs == U(0)


@inlined
def find(slots, ends, arena, h, buf, start, length):  # type: ignore[no-untyped-def]
    """Row of the key with hash `h`, or -1."""
    mask = U(len(slots) - 1)
    at = U(h) & mask
    tag = U(h) >> U(32)
    while slots[at] != U(0):
        if slots[at] >> U(32) == tag:
            row = np.int64(slots[at] & U(0xFFFFFFFF)) - 1
            begin = ends[row]
            if ends[row + 1] - begin == length and same(arena, begin, buf, start, length):
                return row
        at = (at + U(1)) & mask
    return np.int64(-1)


@helper
def place(slots, h, row):  # type: ignore[no-untyped-def]
    """Enter `row` under hash `h`; there must be a free slot."""
    mask = U(len(slots) - 1)
    at = U(h) & mask
    while slots[at] != U(0):
        at = (at + U(1)) & mask
    slots[at] = (U(h) >> U(32)) << U(32) | U(row + 1)


@helper
def add(slots, ends, arena, meta, h, buf, start, length):  # type: ignore[no-untyped-def]
    """Give the key a new, unregistered row; there must be room (`full` was False)."""
    row = meta[ROWS]
    used = meta[USED]
    for k in range(length):
        arena[used + k] = buf[start + k]
    meta[USED] = used + length
    ends[row + 1] = used + length
    meta[ROWS] = row + 1
    meta[UNREGISTERED] += 1
    place(slots, h, row)
    return row


@inlined
def full(ends, arena, meta):  # type: ignore[no-untyped-def]
    """True when a key might find no room: the table must grow first."""
    return meta[ROWS] + 2 > len(ends) or meta[USED] + MAX_KEY > len(arena)


@kernel("void(uint64[::1], int64[::1], uint8[::1], int64)")
def index(slots, ends, arena, rows):  # type: ignore[no-untyped-def]
    """Enter all rows into empty `slots`."""
    for row in range(rows):
        place(slots, U(key_hash(arena, ends[row], ends[row + 1] - ends[row])), row)


@kernel(types.int64(BYTES, _L, _L, types.int64, types.uint64[::1], _L, types.uint8[::1], _L, _L))
def rows_of(buf, ks, kl, begin, slots, ends, arena, meta, row):  # type: ignore[no-untyped-def]
    """Row of each key from `begin` on, new ones made; keys that no agent can have get -1. Stops where room ends."""
    for i in range(begin, len(ks)):
        if kl[i] < 3 or kl[i] > MAX_KEY:
            row[i] = -1
            continue
        h = U(key_hash(buf, ks[i], kl[i]))
        r = find(slots, ends, arena, h, buf, ks[i], kl[i])
        if r < 0:
            if full(ends, arena, meta):
                return i
            r = add(slots, ends, arena, meta, h, buf, ks[i], kl[i])
        row[i] = r
    return len(ks)


class StateTable:
    """Rows of the agents of one partition. `trust`, `limit` and `habit` hold a row per agent (dtypes of the stages)."""

    def __init__(self, room: int = 1024) -> None:
        self.meta = np.zeros(4, np.int64)
        self.ends: Longs = np.zeros(room + 1, np.int64)
        self.arena: Bytes = np.zeros(room * 32, np.uint8)
        self.slots: NDArray[np.uint64] = np.zeros(_slots(room), np.uint64)
        self.registered = np.zeros(room, np.uint8)
        """1 once the agent was registered: admission counts the others ahead of the trust stage."""
        self.mark = np.zeros(room, np.uint8)
        self.touched: NDArray[np.int32] = np.zeros(room, np.int32)
        self.trust = np.zeros(room, TRUST)
        self.limit = np.zeros(room, LIMIT)
        self.habit = np.zeros(room, HABIT)

    @property
    def rows(self) -> int:
        """Agents known."""
        return int(self.meta[ROWS])

    @property
    def unregistered(self) -> int:
        """Agents known that were never registered."""
        return int(self.meta[UNREGISTERED])

    def key(self, row: int) -> bytes:
        """Key of a row: `tenant/agent`."""
        return self.arena[self.ends[row] : self.ends[row + 1]].tobytes()

    def row(self, key: bytes) -> int:
        """Row of a key, -1 when unknown."""
        buf = np.frombuffer(key, np.uint8)
        found: int = find(self.slots, self.ends, self.arena, U(key_hash(buf, 0, len(buf))), buf, 0, len(buf))
        return found

    def rows_of(self, buf: Bytes, ks: Longs, kl: Longs) -> Longs:
        """Row of each key, new ones made; -1 for keys shorter or longer than any agent's."""
        row: Longs = np.empty(len(ks), np.int64)
        done = 0
        while True:
            done = rows_of(buf, ks, kl, done, self.slots, self.ends, self.arena, self.meta, row)
            if done == len(ks):
                return row
            self.grow()

    def grow(self) -> None:
        """Make room for at least one more key: double whatever is short."""
        room = len(self.ends) - 1
        if self.rows + 1 > room:
            for name in ("registered", "mark", "touched", "trust", "limit", "habit"):
                setattr(self, name, _doubled(getattr(self, name), 2 * room))
            self.ends = _doubled(self.ends, 2 * room + 1)
            self.slots = np.zeros(_slots(2 * room), np.uint64)
            index(self.slots, self.ends, self.arena, self.rows)
        if int(self.meta[USED]) + MAX_KEY > len(self.arena):
            self.arena = _doubled(self.arena, 2 * len(self.arena))

    def recount(self, loaded: Longs) -> None:
        """Take note of who is registered among the rows `loaded`, after they were loaded from elsewhere."""
        self.registered[loaded] = (self.trust["flags"][loaded] & REGISTERED) != 0
        self.meta[UNREGISTERED] = self.rows - int(np.count_nonzero(self.registered[: self.rows]))

    def take_touched(self) -> Longs:
        """Rows touched since the last call, in the order of their first event; forgets them."""
        touched: Longs = self.touched[: self.meta[TOUCHED]].astype(np.int64)
        self.mark[touched] = 0
        self.meta[TOUCHED] = 0
        return touched


def _slots(room: int) -> int:
    """A power of two at least twice `room`."""
    return 1 << (2 * room - 1).bit_length()


def _doubled(array: NDArray[Any], size: int) -> NDArray[Any]:
    """A longer copy; the new part is zero and costs memory only when written."""
    longer = np.zeros(size, array.dtype)
    longer[: len(array)] = array
    return longer
