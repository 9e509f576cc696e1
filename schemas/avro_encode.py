"""Columnar Avro, written: one compiled loop turns the columns of a frame into whole Kafka records.

An `Encoder` is compiled once from a schema and a layout. Its kernel writes framing of the record, Confluent frame, Avro
value and headers in one pass over the output buffer: lengths that stand before what they measure are guessed to take
two bytes, and the few records that they do not fit are moved.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numba import types

from .avro_layout import KINDS, PRESENCE, SIMPLE, find
from .avro_schema import NULL, Node, PlanError, Schema
from .columns import Bytes, Frame, Layout, Longs
from .kernels import helper, kernel
from .memory import copy, store64
from .recordbatch_write import RecordsBody
from .varint import put, size

__all__ = ["Constant", "Encoder"]

Spans = tuple[Longs, Longs]
Keys = tuple[Longs, Longs, Bytes | Literal[0, 1]]

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

PUTS = {"boolean": PUT_BOOLEAN, "float": PUT_FLOAT, "double": PUT_DOUBLE, "string": PUT_TEXT, "bytes": PUT_TEXT}

FRAMING: Final = 96
"""No framing of a record (lengths, attributes, deltas, name of the header) takes more bytes than this."""
TYPICAL: Final = 128
"""Bytes a record is guessed to take when room is made for many."""
BAD_SPAN: Final = -1

TRACEPARENT = np.frombuffer(b"\x02\x16traceparent", np.uint8)
"""What stands before the header's value: one header, and its name with its length."""


@dataclass(frozen=True)
class Constant:
    """A value that every record has in a field, as fastavro would take it."""

    value: Any


class Encoder:
    """Writes records of `schema` from frames of `layout` (or of a layout that extends it).

    Each field is taken from the column of its (dotted) name, or of the name that `columns` gives for it, or is the
    `Constant` that `columns` gives. A nullable record is there when the column `name?` is not 0. Arrays, maps and
    general unions are taken from spans of encoded bytes, and so is a record whose own name is a column's. Where a
    column is nullable and its field is not, null is written as 0 or as an empty text. PlanError when a field has no
    column, or one of another kind.
    """

    def __init__(
        self,
        schema: Mapping[str, Any],
        schema_id: int,
        layout: Layout,
        columns: Mapping[str, str | Constant] | None = None,
    ) -> None:
        self.layout = layout
        self._schema = Schema(schema)
        self._columns = dict(columns or {})
        for name in self._columns:
            find(self._schema, name)
        self._code: list[list[int]] = []
        self._bytes = bytearray()
        self._constant(b"\0" + schema_id.to_bytes(4, "big"))
        self._fields(self._schema.root, "")
        self._emit(STOP)
        self.code = np.array(self._code, np.int64).reshape(-1)
        self.constants = np.frombuffer(bytes(self._bytes), np.uint8)
        self.bound = FRAMING + 11 * len(self._code) + len(self._bytes)

    def append(
        self,
        body: RecordsBody,
        frame: Frame,
        select: Longs,
        ts: Longs,
        key: Keys,
        traceparent: Spans | None = None,
    ) -> None:
        """Append a record to `body` for each index in `select`, in that order.

        `ts` (ms), the key's starts and lengths (-1: null) and those of the header `traceparent` (-1: none; spans of
        `frame.buf`) have shape (frame.n,). The key's bytes lie in its third part: an array, or 0 for `frame.buf`, 1
        for `frame.aux`. ValueError when a span lies outside its bank or a fixed is of another size; `body` is then
        as it was.
        """
        self._check(frame, ts, key[0], key[1], *(traceparent or ()))
        if not len(select):
            return
        if not 0 <= select[0] < frame.n:
            raise self._bad_span(int(select[0]))
        bank = key[2] if isinstance(key[2], np.ndarray) else (frame.buf, frame.aux)[key[2]]
        hs, hl = traceparent if traceparent is not None else (select[:0], select[:0])
        first_ts = body.first_ts if body.count else int(ts[select[0]])
        before, done, need = body.used, 0, 0
        while done < len(select):
            body.reserve(need + self.bound + TYPICAL * (len(select) - done))
            done, body.used, need = _append(
                self.code, self.constants, frame.matrix, frame.buf, frame.aux, select, ts, key[0], key[1], bank, hs, hl,
                TRACEPARENT, body.out, body.used, done, body.count, first_ts, self.bound,
            )  # fmt: skip
            if need == BAD_SPAN:
                body.used = before
                raise self._bad_span(int(select[done]))
        body.open(first_ts)
        body.advance(body.used, len(select), int(ts[select].max()))

    def append_values(self, frame: Frame, select: Longs) -> tuple[Bytes, Longs, Longs]:
        """The framed values alone: their bytes side by side, and start and length of each, shape (len(select),)."""
        self._check(frame)
        out = np.empty(self.bound + TYPICAL * len(select), np.uint8)
        starts = np.empty(len(select) + 1, np.int64)
        done, used, need = 0, 0, 0
        while done < len(select):
            if need:
                more = np.empty(len(out) + need + self.bound + TYPICAL * (len(select) - done), np.uint8)
                more[:used] = out[:used]
                out = more
            done, used, need = _append_values(
                self.code, self.constants, frame.matrix, frame.buf, frame.aux, select,
                out, used, done, self.bound, starts,
            )  # fmt: skip
            if need == BAD_SPAN:
                raise self._bad_span(int(select[done]))
        starts[len(select)] = used
        return out[:used], starts[:-1], np.diff(starts)

    def _check(self, frame: Frame, *columns: Longs) -> None:
        known = self.layout.columns
        if frame.layout is not self.layout and frame.layout.columns[: len(known)] != known:
            raise ValueError("the frame is of another layout than the encoder's")
        if any(len(column) != frame.n for column in columns):
            raise ValueError("timestamps, keys and headers must be as many as the frame's records")

    def _bad_span(self, record: int) -> ValueError:
        name = self._schema.root["name"]
        return ValueError(
            f"{name}: record {record} is none of the frame's, has a span outside its bytes, or a fixed of another size"
        )

    # Compilation

    def _emit(
        self,
        op: int,
        *,
        row: int = -1,
        bank: int = 0,
        null: int = -1,
        second: int = -1,
        least: int = 0,
        a: int = 0,
        b: int = 0,
    ) -> int:
        self._code.append([op, row, bank, null, second, least, a, b])
        return len(self._code) - 1

    def _constant(self, data: bytes) -> None:
        """Write `data`: as part of the constant just before, where nothing lies between."""
        last = self._code[-1] if self._code else None
        if last and last[OP] == PUT_CONSTANT and last[A] + last[B] == len(self._bytes) and not self._landing():
            last[B] += len(data)
        elif data:
            self._emit(PUT_CONSTANT, a=len(self._bytes), b=len(data))
        self._bytes += data

    def _landing(self) -> bool:
        """Whether a null record's end leads to the next instruction."""
        return any(line[OP] == SECTION and line[A] == len(self._code) * int(WORDS) for line in self._code)

    def _fields(self, node: Node, prefix: str) -> None:
        for field in node["fields"]:
            self._field(field["type"], prefix + field["name"])

    def _source(self, name: str) -> str | Constant:
        return self._columns.get(name, name)

    def _field(self, schema: Any, name: str) -> None:
        optional = self._schema.optional(schema)
        node = optional[1] if optional else self._schema.node(schema)
        source = self._source(name)
        if isinstance(source, Constant):
            self._constant(self._encoded(schema, source.value, name))
        elif node["type"] == NULL:
            return
        elif source in self.layout.by_name:
            self._leaf(node, source, name, optional[0] if optional else -1)
        elif node["type"] == "record" and optional:
            self._section(node, name, optional[0])
        elif node["type"] == "record":
            self._fields(node, name + ".")
        else:
            raise PlanError(f"field {name}: the layout has no column {source} to write it from")

    def _encoded(self, schema: Any, value: Any, name: str) -> bytes:
        try:
            return self._schema.encode(schema, value)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            raise PlanError(f"field {name}: the constant {value!r} is not of its type") from error

    def _leaf(self, node: Node, source: str, name: str, null: int) -> None:
        column = self.layout.by_name[source]
        kind = KINDS.get(node["type"], "span")
        if column.kind != kind:
            raise PlanError(f"field {name}: column {source} is a {column.kind}, but {node['type']} needs a {kind}")
        op = PUTS.get(node["type"], PUT_LONG if kind == "long" else PUT_RAW)
        tells = null >= 0 and (column.nullable or kind == "span")
        self._emit(
            op,
            row=self.layout.row(source),
            bank=column.bank,
            null=null,
            second=self.layout.second(source) if tells else -1,
            least=0 if kind == "span" else 1,
            a=node.get("size", -1) if node["type"] in SIMPLE else -1,
        )

    def _section(self, node: Node, name: str, null: int) -> None:
        source = self._source(name + PRESENCE)
        if isinstance(source, Constant):
            self._constant(bytes([2 * (1 - null if source.value else null)]))
            if source.value:
                self._fields(node, name + ".")
            return
        if source not in self.layout.by_name or self.layout.by_name[source].kind != "long":
            raise PlanError(f"field {name}: the layout has no column {source} of numbers to tell whether it is there")
        section = self._emit(SECTION, second=self.layout.row(source), null=null, least=1)
        self._fields(node, name + ".")
        self._code[section][A] = len(self._code) * int(WORDS)


@helper
def _move(out, start, end, by):  # type: ignore[no-untyped-def]
    """Move `out[start:end]` by a few bytes."""
    if by > 0:
        for k in range(end - 1, start - 1, -1):
            out[k + by] = out[k]
    else:
        for k in range(start, end):
            out[k + by] = out[k]


@helper
def _measure(out, start, end):  # type: ignore[no-untyped-def]
    """Write the length of what begins two bytes after `start`, moving it when two bytes do not fit; its new end."""
    length = end - start - 2
    by = size(length) - 2
    if by != 0:
        _move(out, start + 2, end, by)
    put(out, start, length)
    return end + by


@helper
def _value(program, constants, matrix, buf, aux, i, out, p, bound):  # type: ignore[no-untyped-def]
    """Write one framed value at `p`: the position after it, BAD_SPAN, or -2 - the bytes of a text that has no room."""
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
            if start < 0 or start + length > (aux.shape[0] if bank else buf.shape[0]):
                return np.int64(BAD_SPAN)
            if p + length + bound > out.shape[0]:
                return np.int64(-2 - length)
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
def _append(  # type: ignore[no-untyped-def]
    program, constants, matrix, buf, aux, select, ts, ks, kl, keys, hs, hl,
    trace, out, used, done, count, first_ts, bound,
):  # fmt: skip
    """Answers records done, bytes used, and bytes that the next record's longest text needs (0: all are done)."""
    for j in range(done, select.shape[0]):
        i = select[j]
        if i < 0 or i >= ts.shape[0]:
            return j, used, np.int64(BAD_SPAN)
        # 1. Room for all but the texts.
        length = max(kl[i], 0)
        if ks[i] < 0 or ks[i] + length > keys.shape[0]:
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
            return j, used, (p if p == BAD_SPAN else -p)
        p = _measure(out, start, p)
        # 4. Headers: none, or the trace.
        if hl.shape[0] > 0 and hl[i] >= 0:
            if hs[i] < 0 or hs[i] + hl[i] > buf.shape[0]:
                return j, used, np.int64(BAD_SPAN)
            if p + hl[i] + bound > out.shape[0]:
                return j, used, hl[i] + 1
            p = copy(trace, 0, trace.shape[0], out, p)
            p = put(out, p, hl[i])
            p = copy(buf, hs[i], hl[i], out, p)
        else:
            out[U(p)] = 0
            p += 1
        used = _measure(out, used, p)
    return select.shape[0], used, np.int64(0)


@kernel(THREE(LONGS, BYTES, MATRIX, BYTES, BYTES, LONGS, OUT, types.int64, types.int64, types.int64, LONGS))
def _append_values(program, constants, matrix, buf, aux, select, out, used, done, bound, starts):  # type: ignore[no-untyped-def]
    """As `_append`, for values alone."""
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
