"""Which records are decided: the form of an event, repeats, and the row of its agent, in the order of docs/rules.md.

One kernel walks the records of a batch in order, because each step may change the next one's answer: a record enters
the window of repeats, a key gets a row, an agent registers. A record leaves it with a row (it is decided), as a
repeat (row `REPEATED`), or with the reason of its dead letter (row `REFUSED`). Checks that only new keys need (syntax,
partition) are skipped for a key that has a row: only keys that passed them ever got one.
"""

from __future__ import annotations

import numpy as np
from numba import types

from schemas import utf8
from schemas.avro_decode import BYTES
from schemas.columns import Longs
from schemas.event_types import EventType
from schemas.kernels import helper, kernel
from schemas.murmur import murmur2
from schemas.reasons import Reason

from . import repeats
from .policy import Policy
from .table import MAX_KEY, TOUCHED, UNREGISTERED, add, find, full, key_hash

REFUSED, REPEATED = -1, -2
"""Rows of records that are not decided."""

MAX_TENANT, MAX_AGENT, MAX_EVENT_ID, MAX_TEXT = 64, 128, 128, 1024
SLASH = ord("/")

# Numbers of a check: rows of value and presence (-1: always there), and what is asked of the value.
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


@helper
def key_is(buf, ks, kl, tenant, tenant_length, agent, agent_length):  # type: ignore[no-untyped-def]
    """True when the key is tenant, slash, agent."""
    if kl != tenant_length + 1 + agent_length or buf[ks + tenant_length] != SLASH:
        return False
    same = True
    for k in range(tenant_length):
        same &= buf[ks + k] == buf[tenant + k]
    at = ks + tenant_length + 1
    for k in range(agent_length):
        same &= buf[at + k] == buf[agent + k]
    return same


@helper
def numbers_ok(m, i, checks):  # type: ignore[no-untyped-def]
    """True when the numbers of record `i` that are there are finite and, where asked, not negative."""
    for c in range(len(checks)):
        if checks[c, 1] >= 0 and m[checks[c, 1], i] == 0:
            continue
        bits = m[checks[c, 0], i]
        kind = checks[c, 2]
        if kind == NOT_NEGATIVE:
            if bits < 0:
                return False
        elif (bits & INFINITE) == INFINITE or (kind == FINITE_NOT_NEGATIVE and bits < 0 and bits != SIGN):
            return False
    return True


@helper
def event_form(buf, m, i, spans, checks, texts, ks, kl, ts, times):  # type: ignore[no-untyped-def]
    """First reason, after the key's own, why the form of event `i` is wrong, or OK."""
    tenant, agent, event = spans[0], spans[1], spans[2]
    if not key_is(buf, ks, kl, m[tenant, i], m[tenant + 1, i], m[agent, i], m[agent + 1, i]):
        return _KEY_MISMATCH
    if m[event + 1, i] < 1 or m[event + 1, i] > MAX_EVENT_ID:
        return _BAD_EVENT_ID
    if not numbers_ok(m, i, checks):
        return _BAD_NUMBER
    if ts < times[0] or ts >= times[1]:
        return _BAD_TIMESTAMP
    for t in range(len(texts)):
        if m[texts[t] + 1, i] > MAX_TEXT:
            return _TEXT_TOO_LONG
    return _OK


_I = types.int64
_L = types.int64[::1]
_M = types.int64[:, ::1]
_B = types.uint8[::1]
_U = types.uint64[::1]


@kernel(
    types.int64(
        BYTES, _L, _L, _L, _L, _L, _L, _M, _L, _M, _L, _L, _I, _I, _I, _I,
        types.uint64[:, ::1], _M, _L, _L, _U, _L, _B, _L, _B, _B, types.int32[::1], _I, _L, _L,
    )
)  # fmt: skip
def admit(  # type: ignore[no-untyped-def]
    buf, off, ts, ks, kl, vs, vl, m, spans, checks, texts, times, kinds, partition, partitions, most_unregistered,
    hashes, links, heads, seen, slots, ends, arena, meta, registered, mark, touched, begin, error, row,
):  # fmt: skip
    """Admit the records from `begin` on; answers where it stopped: at the end, or where the table must grow first.

    Columns of the batch come first, then the matrix of its frame. `kinds` is the row of the unified event types.
    `error` comes in with what decoding found; `row` gets the row of the state, `REFUSED` or `REPEATED`.
    """
    for i in range(begin, len(error)):
        row[i] = REFUSED
        if error[i] != _OK:
            continue
        # 1. Form.
        start, length = ks[i], kl[i]
        if length <= 0:
            error[i] = _NO_KEY
            continue
        r = np.int64(-1)
        h = np.uint64(0)
        if length <= MAX_KEY:
            h = np.uint64(key_hash(buf, start, length))
            r = find(slots, ends, arena, h, buf, start, length)
        reason = _OK
        if r < 0:
            reason = key_syntax(buf, start, length)
        if reason == _OK:
            reason = event_form(buf, m, i, spans, checks, texts, start, length, ts[i], times)
        if reason != _OK:
            error[i] = reason
            continue
        # 2. Repeat.
        identity = np.uint64(repeats.id_hash(h, buf, m[spans[2], i], m[spans[2] + 1, i]))
        value = np.uint64(repeats.value_hash(buf, vs[i], vl[i]))
        known = repeats.recall(hashes, links, heads, seen, identity, value)
        if known == repeats.REUSED:
            error[i] = _REUSED
            continue
        if known == repeats.REPEAT:
            row[i] = REPEATED
            repeats.remember(hashes, links, heads, seen, identity, value, off[i])
            continue
        # 3. Row.
        registers = m[kinds, i] == _REGISTERED_EVENT
        if r < 0:
            if partitions > 0 and murmur2(buf, start, length) % partitions != partition:
                error[i] = _WRONG_PARTITION
                continue
            if not registers and meta[UNREGISTERED] >= most_unregistered:
                error[i] = _TOO_MANY
                continue
            if full(ends, arena, meta):
                return i
            r = add(slots, ends, arena, meta, h, buf, start, length)
        if registers and registered[r] == 0:
            registered[r] = 1
            meta[UNREGISTERED] -= 1
        repeats.remember(hashes, links, heads, seen, identity, value, off[i])
        if mark[r] == 0:
            mark[r] = 1
            touched[meta[TOUCHED]] = r
            meta[TOUCHED] += 1
        row[i] = r
    return len(error)
