"""Which columns the fields of a schema become.

A field is named with dots through nested records ("trust.points"); "trust?" is whether a nullable record is there.
Whole numbers, booleans, timestamps and enums (the index of the symbol) become longs; floats doubles; strings, bytes and
fixed spans. Whatever else is asked for - an array, a map, a record as a whole, a union of more than null and one type -
is a span over its encoded bytes, for one who decodes it later. `null` beside one type makes a column nullable, and so
does a nullable record on the way to the field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .avro_schema import Node, PlanError, Schema
from .columns import Column, Kind, Layout

KINDS: Mapping[str, Kind] = {
    "null": "long",
    "boolean": "long",
    "int": "long",
    "long": "long",
    "enum": "long",
    "float": "double",
    "double": "double",
}
SIMPLE = (*KINDS, "string", "bytes", "fixed")
"""Types whose columns hold the value; all others are spans over encoded bytes."""
PRESENCE = "?"


@dataclass(frozen=True)
class Field:
    """Where a dotted name leads: the field's type, and whether a nullable record lies on the way."""

    schema: Any
    below_null: bool
    presence: bool = False


def layout(reader: Mapping[str, Any], fields: Sequence[str]) -> Layout:
    """The layout of `fields` of the record schema `reader`, in that order; PlanError for a name that leads nowhere."""
    schema = Schema(reader)
    if len(set(fields)) != len(fields):
        raise PlanError(f"a field is named twice in {list(fields)}")
    return Layout(_column(schema, name) for name in fields)


def _column(schema: Schema, name: str) -> Column:
    field = find(schema, name)
    if field.presence:
        return Column(name, "long")
    optional = schema.optional(field.schema)
    node = optional[1] if optional else schema.node(field.schema)
    nullable = optional is not None or field.below_null or node["type"] == "null"
    return Column(name, KINDS.get(node["type"], "span"), nullable)


def find(schema: Schema, name: str) -> Field:
    """Follow `name` from the root; PlanError when a part of it is no field, or no record to look into."""
    *way, last = name.removesuffix(PRESENCE).split(".")
    node, below_null = schema.root, False
    for part in way:
        inner = _member(node, part, name)
        optional = schema.optional(inner)
        below_null = below_null or optional is not None
        node = optional[1] if optional else schema.node(inner)
    found = _member(node, last, name)
    if name.endswith(PRESENCE) and not _nullable_record(schema, found):
        raise PlanError(f"field {name}: {last} is no nullable record")
    return Field(found, below_null, name.endswith(PRESENCE))


def _nullable_record(schema: Schema, found: Any) -> bool:
    optional = schema.optional(found)
    return optional is not None and optional[1]["type"] == "record"


def _member(node: Node, part: str, name: str) -> Any:
    for field in node.get("fields", ()):
        if field["name"] == part:
            return field["type"]
    raise PlanError(f"field {name}: there is no {part} in {node.get('name', node['type'])}")
