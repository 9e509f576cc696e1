"""Columnar Avro, read: one compiled loop runs a `Plan` over many values and fills the columns of a frame.

The bytes come from outside, so nothing in them is believed: every read is checked against the end of its value, depth
is bounded, and a count of items that the rest of the value cannot hold ends it at once. A value that is damaged
anywhere, or has bytes left over, gets an error code; the others go on.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, Final

import fastavro
import numpy as np
from numba import types

from . import avro_code as code
from .avro_code import Plan, Rewrite
from .avro_schema import schema_of
from .columns import NULL_LENGTH, Bytes, Frame, Longs
from .kernels import helper, kernel
from .memory import load64
from .reasons import Reason
from .utf8 import valid
from .varint import get

FRAME: Final = 5
"""Bytes of the Confluent frame: a zero and the schema's id, big-endian."""
DEPTH: Final = 64
"""How deep arrays, maps and records that are called for may nest in one value."""

BYTES = types.Array(types.uint8, 1, "C", readonly=True)
LONGS = types.int64[::1]

_NO_VALUE: Final = int(Reason.NO_VALUE)
_EMPTY_VALUE: Final = int(Reason.EMPTY_VALUE)
_BAD_MAGIC: Final = int(Reason.BAD_MAGIC)
_TRUNCATED: Final = int(Reason.TRUNCATED)
_UNDECODABLE: Final = int(Reason.UNDECODABLE)
U: Final = np.uint64


def frame_ids(buf: Bytes, vs: Longs, vl: Longs, error: Longs) -> Longs:
    """Schema id of each value, shape (n,); -1 and a `Reason` in `error` where there is none. Earlier errors stay."""
    ids = np.empty(len(vs), np.int64)
    _frame_ids(buf, vs, vl, error, ids)
    return ids


def decode(
    plan: Plan, buf: Bytes, starts: Longs, lengths: Longs, select: Longs, frame: Frame, error: Longs, skip: int = FRAME
) -> None:
    """Decode the values `select` (indices) of the spans `starts`, `lengths` of `buf` into the same columns of `frame`.

    `skip` bytes in front of each value are left out. `frame` has `plan.layout`, or one that extends it. A value that
    does not decode gets `Reason.UNDECODABLE` in `error` and nulls and zeros in its columns. Default texts that no value
    holds are appended to a copy of `frame.buf`.
    """
    columns = plan.layout.columns
    if frame.layout.columns[: len(columns)] != columns or frame.n != len(error):
        raise ValueError("the frame is of another layout or size than the plan's and the records'")
    extra = len(frame.buf)
    if len(plan.constants):
        frame.buf = np.concatenate((frame.buf, plan.constants))
    _decode(plan.code, plan.tables, buf, starts, lengths, select, skip, extra, frame.matrix, error)
    if plan.rewrites:
        good = [int(i) for i in select if not error[i]]
        values = {i: buf[starts[i] + skip : starts[i] + lengths[i]].tobytes() for i in good}
        for rewrite in plan.rewrites:
            _rewrite(plan, rewrite, frame, values, error)
    damaged = select[error[select] == _UNDECODABLE]
    if len(damaged):
        _clear(plan, frame, damaged)


def _clear(plan: Plan, frame: Frame, records: Longs) -> None:
    frame.matrix[: plan.layout.rows, records] = 0
    for column in plan.layout.columns:
        if column.kind == "span":
            frame.matrix[plan.layout.second(column.name), records] = NULL_LENGTH


def _rewrite(plan: Plan, rewrite: Rewrite, frame: Frame, values: Mapping[int, bytes], error: Longs) -> None:
    """Encode a column's spans as the reader would have: one by one, for writers of an older or newer item type."""
    starts, lengths = frame[rewrite.column.name], frame.second(rewrite.column.name)
    parts, used = [frame.buf.tobytes()], len(frame.buf)
    for i, value in values.items():
        try:
            data = _encoded(plan, rewrite, value)
        except Exception:  # fastavro raises of many kinds; each means that this value does not resolve
            error[i] = _UNDECODABLE
            continue
        starts[i], lengths[i] = (0, NULL_LENGTH) if data is None else (used, len(data))
        parts.append(data or b"")
        used += len(parts[-1])
    frame.buf = np.frombuffer(b"".join(parts), np.uint8)


def _encoded(plan: Plan, rewrite: Rewrite, value: bytes) -> bytes | None:
    found: Any = fastavro.schemaless_reader(
        io.BytesIO(value), plan.writer.source, rewrite.reader, return_named_type=True
    )
    for part in rewrite.column.name.split("."):
        found = None if found is None else _unnamed(found)[part]
    if found is None and rewrite.column.nullable:
        return None
    whole = rewrite.node["type"] == "union"
    return plan.reader.encode(schema_of(rewrite.node), found if whole else _unnamed(found))


def _unnamed(value: Any) -> Any:
    """A value without the name of its type, which fastavro gives it in a union."""
    return value[1] if isinstance(value, tuple) else value


@kernel(types.void(BYTES, LONGS, LONGS, LONGS, LONGS))
def _frame_ids(buf, vs, vl, error, ids):  # type: ignore[no-untyped-def]
    for i in range(vs.shape[0]):
        ids[i] = -1
        if error[i] != 0:
            continue
        p = vs[i]
        length = vl[i]
        if length < 0:
            error[i] = _NO_VALUE
        elif length == 0:
            error[i] = _EMPTY_VALUE
        elif p < 0 or p + length > buf.shape[0]:
            error[i] = _TRUNCATED
        elif buf[p] != 0:
            error[i] = _BAD_MAGIC
        elif length < FRAME:
            error[i] = _TRUNCATED
        else:
            ids[i] = (
                np.int64(buf[p + 1]) << 24
                | np.int64(buf[p + 2]) << 16
                | np.int64(buf[p + 3]) << 8
                | np.int64(buf[p + 4])
            )


@helper
def _long(buf, p, end):  # type: ignore[no-untyped-def]
    """`varint.get`, with a short way for the numbers of one byte that most lengths, branches and enums are."""
    if p < end and buf[U(p)] < 0x80:
        byte = np.int64(buf[U(p)])
        return (byte >> 1) ^ -(byte & 1), p + 1
    return get(buf, p, end)


@helper
def _word(buf, p, size):  # type: ignore[no-untyped-def]
    """`size` bytes at `p`, little-endian."""
    word = np.uint64(0)
    for k in range(size):
        word |= np.uint64(buf[p + k]) << np.uint64(8 * k)
    return word


@kernel(types.void(LONGS, LONGS, BYTES, LONGS, LONGS, LONGS, types.int64, types.int64, types.int64[:, ::1], LONGS))
def _decode(program, tables, buf, starts, lengths, select, skip, extra, matrix, error):  # type: ignore[no-untyped-def]
    left = np.empty(DEPTH, np.int64)  # of a block: items to come; of a call: where to go on
    until = np.empty(DEPTH, np.int64)  # of a block that says its size: its end, else -1
    for j in range(select.shape[0]):
        i = U(select[j])
        p = starts[i] + skip
        end = starts[i] + lengths[i]
        if starts[i] < 0 or lengths[i] < skip or end > buf.shape[0]:
            error[i] = _UNDECODABLE
            continue
        pc = U(0)
        depth = 0
        good = False
        while True:
            op = program[pc]
            # 1. Where to go on.
            if op >= code.UNION:
                if op == code.UNION:
                    branch, p = _long(buf, p, end)
                    if p < 0 or branch < 0 or branch >= program[pc + code.B]:
                        break
                    pc = U(tables[U(program[pc + code.A] + branch)])
                    continue
                if op == code.JUMP:
                    pc = U(program[pc + code.A])
                    continue
                if op == code.BLOCKS or op == code.CALL:
                    if depth == DEPTH:
                        break
                    if op == code.CALL:
                        left[depth] = np.int64(pc + code.WORDS)
                        pc = U(program[pc + code.A])
                    else:
                        left[depth] = 0
                        until[depth] = -1
                        pc += code.WORDS
                    depth += 1
                    continue
                if op == code.RETURN:
                    depth -= 1
                    pc = U(left[depth])
                    continue
                if op == code.NEXT_ITEM:
                    if left[depth - 1] > 0:
                        left[depth - 1] -= 1
                        pc += code.WORDS
                        continue
                    if until[depth - 1] >= 0 and until[depth - 1] != p:
                        break
                    count, p = _long(buf, p, end)
                    if p < 0:
                        break
                    if count == 0:
                        depth -= 1
                        pc = U(program[pc + code.A])
                        continue
                    until[depth - 1] = -1
                    if count < 0:
                        size, p = _long(buf, p, end)
                        if p < 0 or size < 0 or size > end - p:
                            break
                        until[depth - 1] = p + size
                        count = -count
                    if program[pc + code.B] != 0:  # items of no bytes: nothing to move over
                        count = 0
                    elif count < 0 or count > end - p:
                        break
                    left[depth - 1] = count
                    continue
                row = program[pc + code.ROW]
                if op == code.SET:
                    matrix[U(row), i] = program[pc + code.A]
                elif op == code.SET_TEXT:
                    matrix[U(row), i] = extra + program[pc + code.A]
                    matrix[U(row + 1), i] = program[pc + code.B]
                elif op == code.MARK:
                    matrix[U(row), i] = p
                elif op == code.MEASURE:
                    matrix[U(row + 1), i] = p - matrix[U(row), i]
                else:
                    good = op == code.END and p == end
                    break
                pc += code.WORDS
                continue
            # 2. The branch of a value that may be null.
            row = program[pc + code.ROW]
            null = program[pc + code.NULL_BRANCH]
            if null >= 0:
                branch, p = _long(buf, p, end)
                if p < 0:
                    break
                if branch == null:
                    absent = program[pc + code.ABSENT]
                    if row >= 0:
                        if absent == code.REFUSE:
                            break
                        matrix[U(row), i] = 0
                        matrix[U(row + 1), i] = absent
                    pc += code.WORDS
                    continue
                if branch != 1 - null:
                    break
            # 3. The value: texts and bytes first, they are the most.
            if op == code.TEXT or op == code.BYTES:
                length, p = _long(buf, p, end)
                if p < 0 or length < 0 or length > end - p:
                    break
                if row >= 0:
                    matrix[U(row), i] = p
                    matrix[U(row + 1), i] = length
                    if op == code.TEXT and not valid(buf, p, p + length):
                        break
                p += length
                pc += code.WORDS
                continue
            if op == code.FIXED:
                length = program[pc + code.A]
                if length > end - p:
                    break
                if row >= 0:
                    matrix[U(row), i] = p
                    matrix[U(row + 1), i] = length
                p += length
                pc += code.WORDS
                continue
            # 4. Numbers.
            if op == code.DOUBLE:
                if end - p < 8:
                    break
                value = U(load64(buf, p)).view(np.int64)
                p += 8
            elif op == code.FLOAT:
                if end - p < 4:
                    break
                value = np.int64(np.float64(np.uint32(_word(buf, p, 4)).view(np.float32)).view(np.int64))
                p += 4
            elif op == code.BOOLEAN:
                if p >= end or buf[U(p)] > 1:
                    break
                value = np.int64(buf[U(p)])
                p += 1
            elif op == code.NOTHING:
                value = np.int64(0)
            else:
                value, p = _long(buf, p, end)
                if p < 0:
                    break
                if op == code.ENUM:
                    if value < 0 or value >= program[pc + code.B]:
                        break
                    value = tables[U(program[pc + code.A] + value)]
                    if value < 0:
                        break
                elif (op == code.INT or op == code.INT_AS_DOUBLE) and (value < -0x80000000 or value > 0x7FFFFFFF):
                    break
                elif op == code.INT_AS_DOUBLE or op == code.LONG_AS_DOUBLE:
                    value = np.float64(value).view(np.int64)
            if row >= 0:
                matrix[U(row), i] = value
                if program[pc + code.PRESENT] != 0:
                    matrix[U(row + 1), i] = 1
            pc += code.WORDS
        if not good:
            error[i] = _UNDECODABLE
