"""What differs between two versions of a schema, and whether each can read what the other wrote.

Avro's own library judges by the rules of schema resolution (FULL compatibility: both directions); fastavro says first
whether a text is a schema at all, defaults included, which that library does not ask. Registries judge by the same
rules, but tell no more than a place: so `refusals` says why in words, also where there is no registry.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import fastavro

from schemas.catalog import Schema, fingerprint

_WHY: Final = {
    "name_mismatch": "a named type has another name",
    "fixed_size_mismatch": "a fixed has another size",
    "missing_enum_symbols": "an enum without default lacks symbols",
    "reader_field_missing_default_value": "a field that is not there has no default",
    "type_mismatch": "a type does not become another",
    "missing_union_branch": "a union lacks a branch",
}


@dataclass(frozen=True, slots=True)
class Change:
    """A field that was added (`before` is None), removed (`after` is None) or made another."""

    field: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        """The change as a line of a difference."""
        if self.before is None:
            return f"+ {self.field}: {self.after}"
        if self.after is None:
            return f"- {self.field}: {self.before}"
        return f"~ {self.field}: {self.before} -> {self.after}"


def changes(old: Schema, new: Schema) -> list[Change]:
    """What differs field by field, in the order of the new schema, removed fields last."""
    before, after = dict(_fields(old)), dict(_fields(new))
    paths = [*after, *(path for path in before if path not in after)]
    found = [Change(path, before.get(path), after.get(path)) for path in paths if before.get(path) != after.get(path)]
    if found or old == new:
        return found
    alike = fingerprint(old) == fingerprint(new)
    return [Change("the whole", "", "other texts of documentation" if alike else "another order of fields")]


def refusals(old: Schema, new: Schema, name: str) -> list[str]:
    """Why `new` may not follow `old`, which is called `name`; nothing when each reads what the other wrote."""
    if (fault := _fault(new)) is not None:
        return [f"it is no Avro schema: {fault}"]
    forward, backward = _unread(new, old), _unread(old, new)
    return [
        *([f"it cannot read what {name} wrote: {forward}"] if forward else ()),
        *([f"{name} cannot read what it writes: {backward}"] if backward else ()),
    ]


def _fault(schema: Schema) -> str | None:
    try:
        fastavro.parse_schema(schema)
    except (fastavro.schema.SchemaParseException, fastavro.schema.UnknownType) as error:
        return str(error)
    return None


def _unread(reader: Schema, writer: Schema) -> str:
    """Why `reader` cannot read all that `writer` writes; empty when it can."""
    from avro.compatibility import ReaderWriterCompatibilityChecker
    from avro.errors import AvroException
    from avro.schema import parse

    try:
        ours, theirs = (parse(json.dumps(_plain(schema))) for schema in (reader, writer))
    except AvroException as error:
        return f"Avro's library does not understand the schema ({error})"
    found = ReaderWriterCompatibilityChecker().get_compatibility(ours, theirs)
    kinds = dict.fromkeys(_WHY[kind.value] for kind in found.incompatibilities)
    return f"{' and '.join(kinds)} ({'; '.join(sorted(found.messages))})" if kinds else ""


def _plain(node: Any) -> Any:
    """Without logical types: they have no part in resolution, and unknown ones are warned of."""
    if isinstance(node, list):
        return [_plain(part) for part in node]
    if not isinstance(node, dict):
        return node
    return {name: _plain(part) for name, part in node.items() if name != "logicalType"}


def _fields(schema: Schema, above: str = "") -> Iterator[tuple[str, str]]:
    """Path and description of every field, deeper ones after the one that holds them."""
    for field in schema.get("fields", ()):
        path = f"{above}{field['name']}"
        default = f", default {json.dumps(field['default'])}" if "default" in field else ""
        yield path, _described(field["type"]) + default
        yield from _within(field["type"], path)


def _within(kind: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(kind, list):
        for branch in kind:
            yield from _within(branch, path)
    elif isinstance(kind, dict):
        yield from _fields(kind, f"{path}.")
        yield from _within(kind.get("items"), f"{path}[]")
        yield from _within(kind.get("values"), f"{path}{{}}")


def _described(kind: Any) -> str:
    if isinstance(kind, list):
        return " or ".join(map(_described, kind))
    if not isinstance(kind, dict):
        return str(kind)
    match kind["type"]:
        case "array":
            return f"array of {_described(kind['items'])}"
        case "map":
            return f"map of {_described(kind['values'])}"
        case "enum":
            default = f", default {kind['default']}" if "default" in kind else ""
            return f"enum {kind['name']} ({', '.join(kind['symbols'])}{default})"
        case "fixed":
            return f"fixed {kind['name']} of {kind['size']} bytes"
        case "record":
            return f"record {kind['name']}"
        case plain:
            logical = f" ({kind['logicalType']})" if "logicalType" in kind else ""
            return f"{_described(plain)}{logical}"
