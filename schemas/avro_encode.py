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

from . import avro_write as write
from .avro_layout import KINDS, PRESENCE, SIMPLE, find
from .avro_schema import NULL, Node, PlanError, Schema
from .columns import Bytes, Frame, Layout, Longs
from .memory import SLACK
from .recordbatch_write import RecordsBody

__all__ = ["Constant", "Encoder"]

Spans = tuple[Longs, Longs]
Keys = tuple[Longs, Longs, Bytes | Literal[0, 1]]

TYPICAL: Final = 128
"""Bytes a record is guessed to take when room is made for many."""

PUTS = {
    "boolean": write.PUT_BOOLEAN,
    "float": write.PUT_FLOAT,
    "double": write.PUT_DOUBLE,
    "string": write.PUT_TEXT,
    "bytes": write.PUT_TEXT,
}


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
        self._emit(write.STOP)
        self.code = np.array(self._code, np.int64).reshape(-1)
        self.constants = np.frombuffer(bytes(self._bytes) + bytes(SLACK), np.uint8)
        self.bound = write.FRAMING + 11 * len(self._code) + len(self._bytes)

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
            done, body.used, need = write.append(
                self.code, self.constants, frame.matrix, frame.buf, frame.aux, select, ts, key[0], key[1], bank, hs, hl,
                write.TRACEPARENT, body.out, body.used, done, body.count, first_ts, self.bound,
            )  # fmt: skip
            if need == write.BAD_SPAN:
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
            done, used, need = write.append_values(
                self.code, self.constants, frame.matrix, frame.buf, frame.aux, select,
                out, used, done, self.bound, starts,
            )  # fmt: skip
            if need == write.BAD_SPAN:
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
        if (
            last
            and last[write.OP] == write.PUT_CONSTANT
            and last[write.A] + last[write.B] == len(self._bytes)
            and not self._landing()
        ):
            last[write.B] += len(data)
        elif data:
            self._emit(write.PUT_CONSTANT, a=len(self._bytes), b=len(data))
        self._bytes += data

    def _landing(self) -> bool:
        """Whether a null record's end leads to the next instruction."""
        return any(
            line[write.OP] == write.SECTION and line[write.A] == len(self._code) * int(write.WORDS)
            for line in self._code
        )

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
        op = PUTS.get(node["type"], write.PUT_LONG if kind == "long" else write.PUT_RAW)
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
        section = self._emit(write.SECTION, second=self.layout.row(source), null=null, least=1)
        self._fields(node, name + ".")
        self._code[section][write.A] = len(self._code) * int(write.WORDS)
