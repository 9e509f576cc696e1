"""A writer's schema and a reader's wishes, compiled into the program that `avro_decode` runs over every value.

Fields that are asked for go into columns; everything else is skipped by the writer's schema. What two schemas decide
between them - which field is which, promotions, enum symbols, defaults, union branches - is decided here, once, so that
the loop over records meets only numbers. Recursive types become subroutines; the machine bounds their depth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from . import avro_code as code
from .avro_code import Plan, Program, Rewrite
from .avro_layout import KINDS, PRESENCE, SIMPLE, layout
from .avro_resolve import Resolution
from .avro_schema import NULL, Node, PlanError, Schema, schema_of
from .columns import NULL_LENGTH, Column, Layout

__all__ = ["Plan", "PlanError", "compile_plan", "layout"]

READS = {
    "boolean": code.BOOLEAN,
    "int": code.INT,
    "long": code.LONG,
    "float": code.FLOAT,
    "double": code.DOUBLE,
    "string": code.TEXT,
    "bytes": code.BYTES,
    "fixed": code.FIXED,
    "enum": code.ENUM,
    "null": code.NOTHING,
}


def compile_plan(writer: Mapping[str, Any], reader: Mapping[str, Any], wanted: Layout) -> Plan:
    """The plan that reads values of `writer` into `wanted`, a layout of `reader`.

    Raises PlanError when the writer's schema cannot be resolved to the reader's, in any field.
    """
    try:
        return _Compiler(Schema(writer), Schema(reader), wanted).plan()
    except RecursionError as error:
        raise PlanError("the schema is nested too deeply to be planned") from error


@dataclass
class Want:
    """What is asked for at one place of the reader's schema: a column, or fields of a record."""

    column: Column | None = None
    presence: str | None = None
    fields: dict[str, Want] = field(default_factory=dict)


def _wants(wanted: Layout) -> Want:
    root = Want()
    for column in wanted.columns:
        at = root
        for part in column.name.removesuffix(PRESENCE).split("."):
            at = at.fields.setdefault(part, Want())
        if column.name.endswith(PRESENCE):
            at.presence = column.name
        else:
            at.column = column
        if at.column is not None and (at.fields or at.presence):
            raise PlanError(f"field {column.name}: asked for as a whole and by its parts")
    return root


class _Skipper:
    """Emits what moves over a value without storing anything."""

    def __init__(self, writer: Schema) -> None:
        self.writer = writer
        self.program = Program()
        self._subroutines: dict[str, int] = {}
        self._calls: list[tuple[int, str]] = []

    def skip(self, schema: Any) -> None:
        """Move over a value of the writer's type `schema`."""
        node = self.writer.node(schema)
        kind = node["type"]
        if kind in READS:
            self._skip_simple(node, -1)
        elif kind == "record" and not self.writer.empty(schema):  # an empty one may hold any number of empty ones
            self._calls.append((self.program.emit(code.CALL), node["name"]))
        elif kind == "union":
            self._skip_union(schema, node)
        elif kind != "record":
            self._skip_blocks(node)

    def _skip_simple(self, node: Node, null: int) -> None:
        op = READS[node["type"]]
        if op == code.NOTHING:
            return
        if op == code.ENUM:
            count = len(node["symbols"])
            self.program.emit(op, null=null, a=self.program.table(range(count)), b=count)
        else:
            self.program.emit(code.BYTES if op == code.TEXT else op, null=null, a=node.get("size", 0))

    def _skip_union(self, schema: Any, node: Node) -> None:
        optional = self.writer.optional(schema)
        if optional and optional[1]["type"] in SIMPLE:
            self._skip_simple(optional[1], optional[0])
        else:
            self.program.switch([partial(self.skip, branch) for branch in node["branches"]])

    def _skip_blocks(self, node: Node) -> None:
        item = node["items"] if node["type"] == "array" else node["values"]
        empty = node["type"] == "array" and self.writer.empty(item)
        self.program.emit(code.BLOCKS)
        head = self.program.emit(code.NEXT_ITEM, b=int(empty))
        if not empty:
            if node["type"] == "map":
                self.program.emit(code.BYTES)
            self.skip(item)
            self.program.emit(code.JUMP, a=head)
        self.program.aim(head, self.program.here)

    def add_subroutines(self) -> None:
        """Emit each record that was called for once, whatever calls it."""
        while self._calls:
            call, name = self._calls.pop()
            if name not in self._subroutines:
                self._subroutines[name] = self.program.here
                for part in self.writer.node(name)["fields"]:
                    self.skip(part["type"])
                self.program.emit(code.RETURN)
            self.program.aim(call, self._subroutines[name])


class _Compiler(_Skipper):
    """Emits what reads the fields that are asked for."""

    def __init__(self, writer: Schema, reader: Schema, wanted: Layout) -> None:
        super().__init__(writer)
        self.reader = reader
        self.layout = wanted
        self.resolution = Resolution(writer, reader)
        self.rewrites: list[Rewrite] = []

    def plan(self) -> Plan:
        """Check that the schemas resolve, and compile."""
        self.resolution.check(self.writer.root, self.reader.root, "")
        self._fields(self.writer.root, self.reader.root, _wants(self.layout))
        self.program.emit(code.END)
        self.add_subroutines()
        if self.rewrites and self.writer.endless():
            raise PlanError(
                f"field {self.rewrites[0].column.name}: it would have to be encoded anew, and beside it the writer has "
                "an array of items that take no bytes: a few bytes could be made to take forever"
            )
        return self.program.plan(self.writer, self.reader, self.layout, self.rewrites)

    def _fields(self, writer: Node, reader: Node, want: Want) -> None:
        """Read a record: the writer's fields in its order, then the reader's defaults."""
        types = {part["name"]: part for part in reader["fields"]}
        taken: set[str] = set()
        for part in writer["fields"]:
            name = self.resolution.reads(part["name"], reader)
            if name in want.fields and name not in taken:
                taken.add(name)
                self._value(part["type"], types[name]["type"], want.fields[name])
            else:
                self.skip(part["type"])
        for name, wish in want.fields.items():
            if name not in taken:
                self._default(types[name]["type"], types[name]["default"], wish)

    def _value(self, writer: Any, reader: Any, want: Want) -> None:
        branches = self.writer.branches(writer)
        if want.column is not None:
            self._leaf(writer, reader, want.column)
        elif self.writer.node(writer)["type"] == "union":
            self.program.switch([partial(self._section, branch, reader, want) for branch in branches])
        else:
            self._section(branches[0], reader, want)

    # Records of which fields are asked for

    def _section(self, writer: Node, reader: Any, want: Want) -> None:
        target = self.resolution.branch(writer, reader)
        if target is None:
            self.program.emit(code.FAIL)
        elif target["type"] == NULL:
            self._absent(want)
        else:
            self._there(want)
            self._fields(writer, target, want)

    def _there(self, want: Want) -> None:
        if want.presence is not None:
            self.program.emit(code.SET, row=self.layout.row(want.presence), a=1)

    def _absent(self, want: Want) -> None:
        """Null for everything that is asked for of a record that is null."""
        if want.presence is not None:
            self.program.emit(code.SET, row=self.layout.row(want.presence), a=0)
        if want.column is not None:
            self._null(want.column)
        for inner in want.fields.values():
            self._absent(inner)

    def _null(self, column: Column) -> None:
        row = self.layout.row(column.name)
        self.program.emit(code.SET, row=row, a=0)
        self.program.emit(code.SET, row=row + 1, a=_absent_mark(column))

    # Columns

    def _leaf(self, writer: Any, reader: Any, column: Column) -> None:
        inner = self._inner(reader)
        written = self.writer.optional(writer)
        if inner["type"] not in SIMPLE:
            self._span(writer, inner, column)
        elif self.writer.node(writer)["type"] != "union":
            self._branch(self.writer.node(writer), reader, column)
        elif written and written[1]["type"] in SIMPLE and self._becomes(written[1], reader, inner):
            refuse = self.resolution.branch({"type": NULL}, reader) is None
            self._read(written[1], inner, column, written[0], refuse=refuse)
        else:
            branches = self.writer.branches(writer)
            self.program.switch([partial(self._branch, branch, reader, column) for branch in branches])

    def _inner(self, reader: Any) -> Node:
        """The type of a field, without null beside it."""
        optional = self.reader.optional(reader)
        return optional[1] if optional else self.reader.node(reader)

    def _becomes(self, writer: Node, reader: Any, inner: Node) -> bool:
        target = self.resolution.branch(writer, reader)
        return target is not None and target["type"] == inner["type"]

    def _branch(self, writer: Node, reader: Any, column: Column) -> None:
        """Read a value whose branch, if any, has been read."""
        target = self.resolution.branch(writer, reader)
        if target is None:
            self.program.emit(code.FAIL)
        elif target["type"] == NULL:
            self._null(column)
        else:
            self._read(writer, target, column)

    def _read(self, writer: Node, reader: Node, column: Column, null: int = -1, *, refuse: bool = False) -> None:
        """Read one simple value, after its branch when `null` says which branch is null."""
        op, a, b = READS[writer["type"]], writer.get("size", 0), 0
        if op == code.ENUM:
            a, b = self.program.table(_symbols(writer, reader)), len(writer["symbols"])
        elif op == code.BYTES and reader["type"] == "string":
            op = code.TEXT
        elif op in (code.INT, code.LONG) and KINDS.get(reader["type"]) == "double":
            op = code.INT_AS_DOUBLE if op == code.INT else code.LONG_AS_DOUBLE
        row = self.layout.row(column.name)
        absent = code.REFUSE if refuse else _absent_mark(column)
        present = int(column.nullable and column.kind != "span")
        self.program.emit(op, null=null, row=row, absent=absent, present=present, a=a, b=b)

    # Spans over encoded bytes

    def _span(self, writer: Any, inner: Node, column: Column) -> None:
        """Without a branch when the reader has nothing but null beside `inner`, else with it."""
        whole = inner["type"] == "union"
        branches = [self.writer.node(writer)] if whole else self.writer.branches(writer)
        if not all(self._as_written(branch, inner, whole) for branch in branches):
            self.rewrites.append(Rewrite(column, inner, self.reader.only(column.name.split(".")[0])))
            self._measured(writer, column)
        elif whole or self.writer.node(writer)["type"] != "union":
            self._span_branch(branches[0], column)
        else:
            self.program.switch([partial(self._span_branch, branch, column) for branch in branches])

    def _as_written(self, branch: Node, inner: Node, whole: bool) -> bool:
        if branch["type"] == NULL and not whole:
            return True
        return self.resolution.same_bytes(schema_of(branch), schema_of(inner))

    def _span_branch(self, writer: Node, column: Column) -> None:
        if writer["type"] != NULL:
            self._measured(schema_of(writer), column)
        elif column.nullable:
            self._null(column)
        else:
            self.program.emit(code.FAIL)

    def _measured(self, writer: Any, column: Column) -> None:
        row = self.layout.row(column.name)
        self.program.emit(code.MARK, row=row)
        self.skip(writer)
        self.program.emit(code.MEASURE, row=row)

    # Defaults of fields that the writer does not write

    def _default(self, reader: Any, value: Any, want: Want) -> None:
        if want.column is not None:
            self._default_leaf(self._inner(reader), value, want.column)
        elif value is None:
            self._absent(want)
        else:
            self._there(want)
            for part in self._inner(reader)["fields"]:
                if part["name"] in want.fields:
                    inner = value[part["name"]] if part["name"] in value else part["default"]
                    self._default(part["type"], inner, want.fields[part["name"]])

    def _default_leaf(self, node: Node, value: Any, column: Column) -> None:
        row = self.layout.row(column.name)
        if value is None and column.nullable:
            self._null(column)
            return
        try:
            data = self.reader.encode(schema_of(node), value)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            raise PlanError(f"field {column.name}: its default {value!r} is not of its type") from error
        if column.kind == "span":
            data = data[_prefix(data) :] if node["type"] in ("string", "bytes") else data
            self.program.emit(code.SET_TEXT, row=row, a=self.program.constant(data), b=len(data))
            return
        self.program.emit(code.SET, row=row, a=_bits(node, value))
        if column.nullable:
            self.program.emit(code.SET, row=row + 1, a=1)


def _absent_mark(column: Column) -> int:
    return NULL_LENGTH if column.kind == "span" else 0


def _symbols(writer: Node, reader: Node) -> list[int]:
    """The reader's index of each of the writer's symbols; -1 where it has neither the symbol nor a default."""
    known = {symbol: index for index, symbol in enumerate(reader["symbols"])}
    other = known.get(reader.get("default"), -1)
    return [known.get(symbol, other) for symbol in writer["symbols"]]


def _prefix(data: bytes) -> int:
    """Bytes of the number at the start of `data`."""
    return next(index for index, byte in enumerate(data) if byte < 0x80) + 1


def _bits(node: Node, value: Any) -> int:
    """What the row of a number holds for a default."""
    if node["type"] == "enum":
        return int(node["symbols"].index(value))
    return int(np.float64(value).view(np.int64)) if KINDS[node["type"]] == "double" else int(value)
