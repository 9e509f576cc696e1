"""The loops that write records from columns, and the instructions that an encoder has them follow.

A record's length and its value's stand before what they measure: they are guessed to take two bytes, and the few
records that they do not fit are moved. Room is checked where it can run out: once a record for everything of bounded
size, and before every text.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import types

from .kernels import inlined, kernel
from .memory import copy, store64
from .varint import put, size

BYTES = types.Array(types.uint8, 1, "C", readonly=True)
OUT = types.uint8[::1]
LONGS = types.int64[::1]
MATRIX = types.Array(types.int64, 2, "C", readonly=True)

U: Final = np.uint64
THREE: Any = types.UniTuple(types.int64, 3)  # type: ignore[no-untyped-call]

# Words of an instruction: unsigned, because numba would let a signed index count from the end.
OP: Final = np.uint64(0)
ROW: Final = np.uint64(1)
BANK: Final = np.uint64(2)
NULL_BRANCH: Final = np.uint64(3)  # index of the null branch, or -1: no branch is written
SECOND: Final = np.uint64(4)  # row that tells whether the value is there, or -1: it always is
LEAST: Final = np.uint64(5)  # what SECOND holds at least when it is
A: Final = np.uint64(6)
B: Final = np.uint64(7)
WORDS: Final = np.uint64(8)

PUT_LONG: Final = 0
PUT_BOOLEAN: Final = 1
PUT_DOUBLE: Final = 2
PUT_FLOAT: Final = 3
PUT_TEXT: Final = 4  # length and bytes
PUT_RAW: Final = 5  # bytes as they are; A: how many they must be, or -1
PUT_CONSTANT: Final = 6  # A: start in the constants, B: length
SECTION: Final = 7  # the branch of a record; A: where to go on when it is null
STOP: Final = 8


FRAMING: Final = 96
"""No framing of a record (lengths, attributes, deltas, name of the header) takes more bytes than this."""
BAD_SPAN: Final = -1

TRACEPARENT = np.frombuffer(b"\x02\x16traceparent", np.uint8)
"""What stands before the header's value: one header, and its name with its length."""


@inlined
def _move(out, start, end, by):  # type: ignore[no-untyped-def]
    """Move `out[start:end]` by a few bytes."""
    if by > 0:
        for k in range(end - 1, start - 1, -1):
            out[k + by] = out[k]
    else:
        for k in range(start, end):
            out[k + by] = out[k]


@inlined
def _measure(out, start, end):  # type: ignore[no-untyped-def]
    """Write the length of what begins two bytes after `start`, moving it when two bytes do not fit; its new end."""
    length = end - start - 2
    by = size(length) - 2
    if by != 0:
        _move(out, start + 2, end, by)
    put(out, start, length)
    return end + by


@inlined
def _value(program, constants, matrix, buf, aux, i, out, p, bound):  # type: ignore[no-untyped-def]
    """Write one framed value at `p`; answers the position after it, or BAD_SPAN.

    Where a text has no room: -2 - the bytes of the value up to the text's end.
    """
    begin = p
    pc = U(0)
    while True:
        op = program[pc]
        # 1. The branch of what may be null.
        null = program[pc + NULL_BRANCH]
        if null >= 0:
            second = program[pc + SECOND]
            if second >= 0 and matrix[U(second), i] < program[pc + LEAST]:
                out[U(p)] = 2 * null
                p += 1
                pc = U(program[pc + A]) if op == SECTION else pc + WORDS
                continue
            out[U(p)] = 2 * (1 - null)
            p += 1
        # 2. The value.
        row = program[pc + ROW]
        if op == PUT_LONG:
            p = put(out, p, matrix[U(row), i])
        elif op in (PUT_TEXT, PUT_RAW):
            start = matrix[U(row), i]
            length = max(matrix[U(row + 1), i], 0)
            bank = program[pc + BANK]
            if start < 0 or length > (aux.shape[0] if bank else buf.shape[0]) - start:
                return np.int64(BAD_SPAN)
            if p + length + bound > out.shape[0]:
                return np.int64(-2 - (p - begin) - length)
            if op == PUT_TEXT:
                p = put(out, p, length)
            elif program[pc + A] >= 0 and program[pc + A] != length:
                return np.int64(BAD_SPAN)
            p = copy(aux, start, length, out, p) if bank else copy(buf, start, length, out, p)
        elif op == PUT_CONSTANT:
            p = copy(constants, program[pc + A], program[pc + B], out, p)
        elif op == PUT_DOUBLE:
            p = store64(out, p, np.int64(matrix[U(row), i]).view(np.uint64))
        elif op == PUT_BOOLEAN:
            out[U(p)] = matrix[U(row), i] != 0
            p += 1
        elif op == PUT_FLOAT:
            single = np.float32(np.int64(matrix[U(row), i]).view(np.float64)).view(np.uint32)
            for k in range(4):
                out[p + k] = np.uint8((single >> np.uint32(8 * k)) & np.uint32(0xFF))
            p += 4
        elif op == STOP:
            return np.int64(p)
        pc += WORDS


@kernel(
    THREE(
        LONGS, BYTES, MATRIX, BYTES, BYTES, LONGS, LONGS, LONGS, LONGS, BYTES, LONGS, LONGS,
        BYTES, OUT, types.int64, types.int64, types.int64, types.int64, types.int64,
    )
)  # fmt: skip
def append(  # type: ignore[no-untyped-def]
    program, constants, matrix, buf, aux, select, ts, ks, kl, keys, hs, hl,
    trace, out, used, done, count, first_ts, bound,
):  # fmt: skip
    """Answers records done, bytes used, and bytes that the next record needs up to the end of a text (0: all done)."""
    for j in range(done, select.shape[0]):
        i = select[j]
        if i < 0 or i >= ts.shape[0]:
            return j, used, np.int64(BAD_SPAN)
        # 1. Room for all but the texts.
        length = max(kl[i], 0)
        if ks[i] < 0 or length > keys.shape[0] - ks[i]:
            return j, used, np.int64(BAD_SPAN)
        if used + length + bound > out.shape[0]:
            return j, used, length + 1
        # 2. Record: length (two bytes, filled in later), attributes, deltas, key.
        p = used + 2
        out[U(p)] = 0
        p = put(out, p + 1, ts[i] - first_ts)
        p = put(out, p, count + j)
        p = put(out, p, max(kl[i], -1))
        p = copy(keys, ks[i], length, out, p)
        # 3. Value, after its length.
        start = p
        p = _value(program, constants, matrix, buf, aux, U(i), out, start + 2, bound)
        if p < 0:
            return j, used, (p if p == BAD_SPAN else start + 2 - used - p)
        p = _measure(out, start, p)
        # 4. Headers: none, or the trace.
        if hl.shape[0] > 0 and hl[i] >= 0:
            if hs[i] < 0 or hl[i] > buf.shape[0] - hs[i]:
                return j, used, np.int64(BAD_SPAN)
            if p + hl[i] + bound > out.shape[0]:
                return j, used, p - used + hl[i]
            p = copy(trace, 0, trace.shape[0], out, p)
            p = put(out, p, hl[i])
            p = copy(buf, hs[i], hl[i], out, p)
        else:
            out[U(p)] = 0
            p += 1
        used = _measure(out, used, p)
    return select.shape[0], used, np.int64(0)


@kernel(THREE(LONGS, BYTES, MATRIX, BYTES, BYTES, LONGS, OUT, types.int64, types.int64, types.int64, LONGS))
def append_values(program, constants, matrix, buf, aux, select, out, used, done, bound, starts):  # type: ignore[no-untyped-def]
    """As `append`, for values alone."""
    for j in range(done, select.shape[0]):
        i = select[j]
        if i < 0 or i >= matrix.shape[1]:
            return j, used, np.int64(BAD_SPAN)
        if used + bound > out.shape[0]:
            return j, used, np.int64(1)
        starts[j] = used
        p = _value(program, constants, matrix, buf, aux, U(i), out, used, bound)
        if p < 0:
            return j, used, (p if p == BAD_SPAN else -p)
        used = p
    return select.shape[0], used, np.int64(0)
