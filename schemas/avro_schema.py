"""An Avro schema as the compilers read it: parsed once, every name and wrapper resolved to one plain form.

fastavro checks a schema and qualifies its names; what stays awkward is that a type may be a name, a string, a dict or
a list. `Schema.node` answers one form for all of them, so that plan, resolution and encoder ask only for `type`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import fastavro
from fastavro.schema import SchemaParseException, UnknownType

from . import varint
from .errors import FormatError

Node = Mapping[str, Any]
NULL = "null"
NAMED = ("record", "enum", "fixed")


class PlanError(FormatError):
    """A schema, or a field of it, that cannot be planned for: the message names both and says why."""


class Schema:
    """A checked schema whose root is a record."""

    def __init__(self, source: Mapping[str, Any]) -> None:
        """Parse `source`, an Avro schema as JSON gives it; PlanError when it is not one, or not a record."""
        names: dict[str, Any] = {}
        try:
            parsed = fastavro.parse_schema(_plain(source), names)
        except (SchemaParseException, UnknownType, KeyError, TypeError, ValueError, RecursionError) as error:
            raise PlanError(f"not an Avro schema: {type(error).__name__}: {error}") from error
        self._names = names
        self._empty: dict[str, bool] = {}
        self.source = parsed
        self.root = self.node(parsed)
        if self.root["type"] != "record":
            raise PlanError(f"the schema is of type {self.root['type']}; a topic's values are records")

    def node(self, schema: Any) -> Node:
        """`schema` with its name looked up: a mapping whose `type` is one of Avro's, or "union" with `branches`."""
        if isinstance(schema, list):
            return {"type": "union", "branches": schema}
        if isinstance(schema, str):
            return self.node(self._names[schema]) if schema in self._names else {"type": schema}
        if isinstance(schema["type"], (list, dict)) or schema["type"] in self._names:
            return self.node(schema["type"])
        return {**schema, "type": "record"} if schema["type"] == "error" else schema

    def only(self, name: str) -> dict[str, Any]:
        """The root with one of its fields alone, as fastavro takes it: parsed."""
        fields = [field for field in self.root["fields"] if field["name"] == name]
        return {**self.root, "fields": fields, "__fastavro_parsed": True, "__named_schemas": self._names}

    def branches(self, schema: Any) -> list[Node]:
        """The branches of a union, or the schema itself as the only one."""
        node = self.node(schema)
        return [self.node(branch) for branch in node["branches"]] if node["type"] == "union" else [node]

    def optional(self, schema: Any) -> tuple[int, Node] | None:
        """Index of the null branch and the other branch, for a union of null and one type; else None."""
        branches = self.branches(schema)
        kinds = [branch["type"] for branch in branches]
        if len(kinds) != 2 or NULL not in kinds or kinds[0] == kinds[1]:
            return None
        null = kinds.index(NULL)
        return null, branches[1 - null]

    def empty(self, schema: Any) -> bool:
        """Whether every value of the type takes no bytes at all."""
        node = self.node(schema)
        kind = node["type"]
        if kind == "fixed":
            return bool(node["size"] == 0)
        if kind != "record":
            return bool(kind == NULL)
        if node["name"] not in self._empty:
            self._empty[node["name"]] = False  # what a record that holds itself would be, were there one
            self._empty[node["name"]] = all(self.empty(field["type"]) for field in node["fields"])
        return self._empty[node["name"]]

    def endless(self) -> bool:
        """Whether a few bytes may claim any number of items: there is an array of what takes no bytes."""
        return any(map(self.empty, _item_types(self.source)))

    def recursive(self) -> bool:
        """Whether a type holds itself, so that a value may be nested to any depth."""
        return _holds_itself(self.source, frozenset())

    def encode(self, schema: Any, value: Any) -> bytes:
        """Avro bytes of one value; a field's JSON default serves too (latin-1 text for bytes).

        Of a union, the first branch that fits is taken, or the one named by a pair (name, value) as fastavro has it.
        Raises ValueError, TypeError, KeyError or struct.error when `value` is not of the type.
        """
        node = self.node(schema)
        return _ENCODERS[node["type"]](self, node, value)


def schema_of(node: Node) -> Any:
    """The schema that `node` was made of."""
    return node["branches"] if node["type"] == "union" else node


def _parts(source: Any) -> list[Any]:
    """The schemas that a schema is made of, fields among them."""
    if isinstance(source, Mapping):
        return [source[part] for part in ("type", "items", "values", "fields") if part in source]
    return source if isinstance(source, list) else []


def _item_types(source: Any) -> Iterator[Any]:
    """Of all arrays in a schema."""
    if isinstance(source, Mapping) and source["type"] == "array":
        yield source["items"]
    for part in _parts(source):
        yield from _item_types(part)


def _holds_itself(source: Any, around: frozenset[str]) -> bool:
    """Whether a schema inside the definitions of the types `around` names one of them."""
    if isinstance(source, str):
        return source in around
    if isinstance(source, Mapping) and source["type"] in NAMED:
        around |= {source["name"]}
    return any(_holds_itself(part, around) for part in _parts(source))


def _plain(source: Any) -> Any:
    """A copy without logical types (columns hold what lies under them) and without the marks of an earlier parse."""
    if isinstance(source, Mapping):
        dropped = {"logicalType", "__fastavro_parsed", "__named_schemas"}
        return {key: _plain(value) for key, value in source.items() if key not in dropped}
    return [_plain(item) for item in source] if isinstance(source, list) else source


def long(value: int) -> bytes:
    """Zig-zag variable-length bytes of an integer of 64 bits."""
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError(f"{value} does not fit 64 bits")
    return varint.encoded(value)


def _integer(_schema: Schema, node: Node, value: Any) -> bytes:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} is not of type {node['type']}")
    if node["type"] == "int" and not -(1 << 31) <= value < 1 << 31:
        raise ValueError(f"{value} does not fit 32 bits")
    return long(value)


def _boolean(_schema: Schema, _node: Node, value: Any) -> bytes:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is not a boolean")
    return b"\1" if value else b"\0"


def _null(_schema: Schema, _node: Node, value: Any) -> bytes:
    if value is not None:
        raise TypeError(f"{value!r} is not null")
    return b""


def _number(_schema: Schema, node: Node, value: Any) -> bytes:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{value!r} is not a number")
    return struct.pack("<f" if node["type"] == "float" else "<d", value)


def _bytes(value: Any) -> bytes:
    return value.encode("latin-1") if isinstance(value, str) else bytes(memoryview(value))


def _sized(_schema: Schema, node: Node, value: Any) -> bytes:
    data = value.encode() if node["type"] == "string" else _bytes(value)
    return long(len(data)) + data


def _fixed(_schema: Schema, node: Node, value: Any) -> bytes:
    data = _bytes(value)
    if len(data) != node["size"]:
        raise ValueError(f"{len(data)} bytes for {node['name']}, which has {node['size']}")
    return data


def _enum(_schema: Schema, node: Node, value: Any) -> bytes:
    return long(node["symbols"].index(value))


def _blocks(items: Sequence[bytes]) -> bytes:
    return long(len(items)) + b"".join(items) + b"\0" if items else b"\0"


def _array(schema: Schema, node: Node, value: Any) -> bytes:
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"{value!r} is not an array")
    return _blocks([schema.encode(node["items"], item) for item in value])


def _map(schema: Schema, node: Node, value: Any) -> bytes:
    key = {"type": "string"}
    return _blocks([schema.encode(key, name) + schema.encode(node["values"], item) for name, item in value.items()])


def _record(schema: Schema, node: Node, value: Any) -> bytes:
    unknown = set(value) - {field["name"] for field in node["fields"]}
    if unknown:
        raise ValueError(f"{node['name']} has no field {sorted(unknown)[0]}")
    return b"".join(
        schema.encode(field["type"], value[field["name"]] if field["name"] in value else field["default"])
        for field in node["fields"]
    )


def _union(schema: Schema, node: Node, value: Any) -> bytes:
    name, plain = value if isinstance(value, tuple) else (None, value)
    for index, branch in enumerate(node["branches"]):
        if name is not None and schema.node(branch).get("name") != name:
            continue
        try:
            return long(index) + schema.encode(branch, plain)
        except (ValueError, TypeError, KeyError, AttributeError, struct.error):
            continue
    raise ValueError(f"{value!r} is of no type of its union")


_ENCODERS = {
    "null": _null,
    "boolean": _boolean,
    "int": _integer,
    "long": _integer,
    "float": _number,
    "double": _number,
    "string": _sized,
    "bytes": _sized,
    "fixed": _fixed,
    "enum": _enum,
    "array": _array,
    "map": _map,
    "record": _record,
    "union": _union,
}
