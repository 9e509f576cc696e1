"""Bytes that mean harm: nothing crashes, nothing outside the buffer is read, and compiled is plain.

Every example lies at the edge of a page that may not be touched, so that one byte read too far ends the process.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import recordbatch_parse as fields
from schemas.kernels import Kernel
from schemas.recordbatch import BadCrc, Limits, read
from tests.record_batches import Cliff, Headers, Rec, batch, seal, spans
from tests.test_recordbatch import fetches

Fetch = tuple[bytes, list[int]]
Changes = list[tuple[float, int]]

hostile = settings(max_examples=60, deadline=None)
VARIANTS: tuple[Callable[[Kernel], Callable[..., Any]], ...] = (lambda k: k, lambda k: k.py_func)
CLIFF = Cliff(1 << 20)
LIMITS = Limits(batch=1 << 16, records=1000, record=1 << 12, chunk=1 << 12)

junk = st.binary(max_size=300)
changes = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=4)


def changed(data: bytes, places: Changes, since: int = 0) -> bytes:
    made = bytearray(data)
    for place, value in places:
        made[since + int(place * (len(made) - since - 1))] = value
    return bytes(made)


def survives(data: bytes, *, check_crc: bool) -> None:
    at_the_edge = CLIFF.at_the_edge(data)
    position = 5
    with suppress(BadCrc):
        for piece in read(at_the_edge.data, topic="topic", partition=0, start=5, check_crc=check_crc, limits=LIMITS):
            assert (piece.start, piece.next >= position) == (position, True)
            position = piece.next
            assert all(0 <= start <= start + length <= len(piece.buf) for start, length in spans(piece))
            assert all(5 <= offset < piece.next for offset in piece.off)
            assert all(refused.raw in data for refused in piece.refused)


def twins(data: bytes) -> None:
    """Each kernel, compiled and plain, over the same bytes."""
    buf = CLIFF.at_the_edge(data)
    count, damaged = fields.count_batches(buf)
    assert fields.count_batches.py_func(buf) == (count, damaged)
    results = []
    with np.errstate(over="ignore"):
        for run in VARIANTS:
            batches = np.zeros(count, fields.BATCH)
            columns = np.zeros((8, 3000), np.int64)
            run(fields.read_headers)(buf, batches)
            bad = run(fields.first_bad_crc)(buf, batches)
            marks = run(fields.screen)(batches, 5, 1000)
            cut = run(fields.cut)(batches, 0, 7) if count else 0
            n = run(fields.parse)(buf, batches[:2], 5, 4096, columns)
            results.append((bad, tuple(marks), cut, n, columns[:, :n].tolist(), batches.tolist()))
    assert results[0] == results[1]


@hostile
@given(junk)
def test_any_bytes_are_survived(data: bytes) -> None:
    survives(data, check_crc=False)
    twins(data)


@hostile
@given(fetches(), changes)
def test_a_fetch_with_some_bytes_changed_is_survived(
    fetch: tuple[bytes, list[int]], places: list[tuple[float, int]]
) -> None:
    data = changed(fetch[0], places)
    survives(data, check_crc=True)
    survives(data, check_crc=False)
    twins(data)


@hostile
@given(junk, st.integers(0, 7), st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1))
def test_any_body_behind_a_right_checksum_is_survived(records: bytes, codec: int, count: int, last: int) -> None:
    def change(built: bytearray) -> None:
        built[61:] = records
        struct.pack_into(">h", built, 21, codec)
        struct.pack_into(">i", built, 23, last)
        struct.pack_into(">i", built, 57, count)

    data = batch([Rec(0, 1, b"k", b"v")], base=2, change=change)
    survives(data, check_crc=True)
    twins(data)


headers = st.lists(st.tuples(st.text(max_size=3), st.one_of(st.none(), st.binary(max_size=5))), max_size=3)


@hostile
@given(st.lists(headers, min_size=1, max_size=4), changes)
def test_a_body_with_some_bytes_changed_is_survived(
    all_headers: list[Headers], places: list[tuple[float, int]]
) -> None:
    whole = batch([Rec(i, 1, b"key", b"value", found) for i, found in enumerate(all_headers)], base=3)
    data = seal(bytearray(changed(whole, places, since=61)))
    survives(data, check_crc=True)
    twins(data)
