"""Which records are decided: the form of an event, repeats, and the row of its agent, in the order of docs/rules.md.

Three loops over the records of a batch. `digest` hashes and `check` looks at the form: of each record by itself. Then
`admit` goes in order, because each record may change the answer for the next: it enters the window of repeats, its key
gets a row, its agent registers. A record comes out with a row (it is decided), as a repeat (row `REPEATED`), or with
the reason of its dead letter (row `REFUSED`). What only new keys need (syntax, partition) is skipped for a key that has
a row: only keys that passed ever got one.
"""

from __future__ import annotations

import numba
import numpy as np
from numba import types

from schemas import utf8
from schemas.avro_decode import BYTES
from schemas.columns import NULL_LENGTH, Longs
from schemas.event_types import EventType
from schemas.kernels import helper, inlined, kernel
from schemas.murmur import murmur2
from schemas.prefetch import AHEAD, prefetch
from schemas.reasons import Reason

from . import repeats
from .policy import Policy
from .table import MAX_KEY, TOUCHED, UNREGISTERED, add, find, full, key_hash, same

REFUSED, REPEATED = -1, -2
"""Rows of records that are not decided."""

MAX_TENANT, MAX_AGENT, MAX_EVENT_ID, MAX_TEXT = 64, 128, 128, 1024
SLASH = ord("/")

WRONG_EVENT_ID, WRONG_NUMBER, WRONG_TIME, WRONG_TEXT = 1, 2, 4, 8
"""Marks of what is wrong with an event."""

# What is asked of a number.
FINITE, NOT_NEGATIVE, FINITE_NOT_NEGATIVE = 0, 1, 2
SIGN = np.int64(-(2**63))
INFINITE = np.int64(0x7FF0000000000000)

_OK, _NO_KEY, _BAD_KEY, _BAD_AGENT_ID = (
    int(reason) for reason in (Reason.OK, Reason.NO_KEY, Reason.BAD_KEY, Reason.BAD_AGENT_ID)
)
_KEY_MISMATCH, _BAD_EVENT_ID, _BAD_NUMBER = int(Reason.KEY_MISMATCH), int(Reason.BAD_EVENT_ID), int(Reason.BAD_NUMBER)
_BAD_TIMESTAMP, _TEXT_TOO_LONG = int(Reason.BAD_TIMESTAMP), int(Reason.TEXT_TOO_LONG)
_REUSED, _WRONG_PARTITION = int(Reason.EVENT_ID_REUSED), int(Reason.WRONG_PARTITION)
_TOO_MANY = int(Reason.TOO_MANY_UNREGISTERED)
_REGISTERED_EVENT = int(EventType.AGENT_REGISTERED)


def times_of(policy: Policy) -> Longs:
    """First timestamp (ms) that the policy accepts, and the first that it no longer does."""
    years = policy.admission.from_year, policy.admission.to_year
    return np.array([np.datetime64(f"{year}-01-01", "ms").astype(np.int64) for year in years], np.int64)


@helper
def key_syntax(buf, start, length):  # type: ignore[no-untyped-def]
    """Reason why no agent can have this key, or OK."""
    end = start + length
    slash = start
    while slash < end and buf[slash] != SLASH:
        c = buf[slash]
        if not (97 <= c <= 122 or 48 <= c <= 57 or c == 45):
            return _BAD_KEY
        slash += 1
    if slash in (start, end) or slash - start > MAX_TENANT:
        return _BAD_KEY
    agent = slash + 1
    if end == agent or end - agent > MAX_AGENT:
        return _BAD_AGENT_ID
    for p in range(agent, end):
        c = buf[p]
        if c < 0x20 or c == 0x7F or (c == 0xC2 and p + 1 < end and buf[p + 1] < 0xA0):
            return _BAD_AGENT_ID
    return _OK if utf8.valid(buf, agent, end) else _BAD_AGENT_ID


@inlined
def key_is(buf, ks, kl, tenant, tenant_length, agent, agent_length):  # type: ignore[no-untyped-def]
    """True when the key is tenant, slash, agent, and the tenant has no slash: an agent may have some."""
    if kl != tenant_length + 1 + agent_length or buf[ks + tenant_length] != SLASH:
        return False
    for p in range(ks, ks + tenant_length):
        if buf[p] == SLASH:
            return False
    if not same(buf, ks, buf, tenant, tenant_length):
        return False
    return same(buf, ks + tenant_length + 1, buf, agent, agent_length)


@inlined
def mark_numbers(bits, presence, kind, wrong):  # type: ignore[no-untyped-def]
    """Mark the records whose number is there (`presence`) and not finite, or negative where `kind` forbids it."""
    for i in range(len(bits)):
        infinite = (kind != NOT_NEGATIVE) & ((bits[i] & INFINITE) == INFINITE)
        negative = (kind != FINITE) & (bits[i] < 0) & ((kind == NOT_NEGATIVE) | (bits[i] != SIGN))
        wrong[i] |= WRONG_NUMBER * ((infinite | negative) & (presence[i] != 0))


@inlined
def mark_lengths(lengths, least, most, flag, wrong):  # type: ignore[no-untyped-def]
    """Mark the records whose text has fewer than `least` or more than `most` bytes with `flag`."""
    for i in range(len(lengths)):
        wrong[i] |= flag * ((lengths[i] < least) | (lengths[i] > most))


@helper
def first_wrong(wrong):  # type: ignore[no-untyped-def]
    """Reason of the first mark."""
    if wrong & WRONG_EVENT_ID:
        return _BAD_EVENT_ID
    if wrong & WRONG_NUMBER:
        return _BAD_NUMBER
    if wrong & WRONG_TIME:
        return _BAD_TIMESTAMP
    return _TEXT_TOO_LONG if wrong & WRONG_TEXT else _OK


_I = types.int64
_L = types.int64[::1]
_M = types.int64[:, ::1]
_B = types.uint8[::1]
_U = types.uint64[::1]
_H = types.uint64[:, ::1]


@kernel(_H(BYTES, _L, _L, _L, _L, _M, _L, _L))
def digest(buf, ks, kl, vs, vl, m, spans, error):  # type: ignore[no-untyped-def]
    """Hashes of records without an error, shape (3, n): of the key, of key and event id, of the value."""
    hashes = np.zeros((3, len(error)), np.uint64)
    event = spans[2]
    for i in range(len(error)):
        if error[i] == _OK and 0 < kl[i] <= MAX_KEY:
            h = np.uint64(key_hash(buf, ks[i], kl[i]))
            hashes[0, i] = h
            hashes[1, i] = repeats.id_hash(h, buf, m[event, i], m[event + 1, i])
            hashes[2, i] = repeats.value_hash(buf, vs[i], vl[i])
    return hashes


@kernel(types.void(BYTES, _L, _L, _L, _M, _L, _M, _L, _L, _H, _U, _L, _B, _L, _L))
def check(  # type: ignore[no-untyped-def]
    buf, ts, ks, kl, m, spans, checks, texts, times, hashes, slots, ends, arena, error, row,
):  # fmt: skip
    """Check the form of all records. `error` comes in with what decoding found, and goes out with the first reason;
    `row` gets the row of the state that the key has so far, else `REFUSED`.
    """
    n = len(error)
    # What is wrong with the event, column by column.
    wrong = np.zeros(n, np.int64)
    mark_lengths(m[spans[2] + 1], 1, MAX_EVENT_ID, WRONG_EVENT_ID, wrong)
    for c in range(len(checks)):
        mark_numbers(m[checks[c, 0]], m[checks[c, 1]], checks[c, 2], wrong)
    mark_lengths(ts, times[0], times[1] - 1, WRONG_TIME, wrong)
    for t in range(len(texts)):
        mark_lengths(m[texts[t] + 1], NULL_LENGTH, MAX_TEXT, WRONG_TEXT, wrong)
    # What is wrong with the key, and what comes first, record by record.
    near = np.zeros(n, np.int64)
    for i in range(n):
        near[i] = np.int64(hashes[0, i] & np.uint64(len(slots) - 1))
    tenant, agent = spans[0], spans[1]
    for i in range(n):
        prefetch(slots, near, i + AHEAD)
        row[i] = REFUSED
        if error[i] != _OK:
            continue
        start, length = ks[i], kl[i]
        if length <= 0:
            error[i] = _NO_KEY
            continue
        r = np.int64(REFUSED)
        if length <= MAX_KEY:
            r = find(slots, ends, arena, hashes[0, i], buf, start, length)
        reason = key_syntax(buf, start, length) if r < 0 else _OK
        if reason == _OK:
            if not key_is(buf, start, length, m[tenant, i], m[tenant + 1, i], m[agent, i], m[agent + 1, i]):
                reason = _KEY_MISMATCH
            elif wrong[i]:
                reason = first_wrong(wrong[i])
        if reason != _OK:
            error[i] = reason
        else:
            row[i] = r


@kernel(
    types.int64(
        BYTES, _L, _L, _L, _L, _H, _I, _I, _I, numba.from_dtype(repeats.SEEN)[::1], _L, _L,
        _U, _L, _B, _L, _B, _B, types.int32[::1], _I, _L, _L,
    )
)  # fmt: skip
def admit(  # type: ignore[no-untyped-def]
    buf, off, ks, kl, kinds, hashes, partition, partitions, most_unregistered, ring, heads, seen,
    slots, ends, arena, meta, registered, mark, touched, begin, error, row,
):  # fmt: skip
    """Admit the records from `begin` on; answers where it stopped: at the end, or where the table must grow first.

    `kinds` are the unified event types. `error` and `row` come in as `check` left them; `row` goes out with the row of
    the state, `REFUSED` or `REPEATED`.
    """
    near = np.zeros(len(error), np.int64)
    for i in range(len(error)):
        near[i] = repeats.bucket_of(heads, hashes[1, i])
    for i in range(begin, len(error)):
        prefetch(heads, near, i + AHEAD)
        if error[i] != _OK:
            continue
        # 2. Repeat.
        identity = hashes[1, i]
        value = hashes[2, i]
        known = repeats.recall(ring, heads, seen, identity, value)
        if known == repeats.REUSED:
            error[i] = _REUSED
            row[i] = REFUSED
            continue
        if known == repeats.REPEAT:
            row[i] = REPEATED
            repeats.remember(ring, heads, seen, identity, value, off[i])
            continue
        # 3. Row.
        registers = kinds[i] == _REGISTERED_EVENT
        r = row[i]
        if r < 0:  # unknown when the batch began; perhaps no longer
            r = find(slots, ends, arena, hashes[0, i], buf, ks[i], kl[i])
        if r < 0:
            if partitions > 0 and murmur2(buf, ks[i], kl[i]) % partitions != partition:
                error[i] = _WRONG_PARTITION
                continue
            if not registers and meta[UNREGISTERED] >= most_unregistered:
                error[i] = _TOO_MANY
                continue
            if full(ends, arena, meta):
                return i
            r = add(slots, ends, arena, meta, hashes[0, i], buf, ks[i], kl[i])
        if registers and registered[r] == 0:
            registered[r] = 1
            meta[UNREGISTERED] -= 1
        repeats.remember(ring, heads, seen, identity, value, off[i])
        if mark[r] == 0:
            mark[r] = 1
            touched[meta[TOUCHED]] = r
            meta[TOUCHED] += 1
        row[i] = r
    return len(error)
