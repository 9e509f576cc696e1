"""Changes of a schema that readers and writers of both ages survive, and such that they do not."""

from __future__ import annotations

from dataclasses import dataclass

from .avro_cases import Json


@dataclass(frozen=True)
class Case:
    about: str
    old: Json
    new: Json
    reason: str = ""
    """What is said of it; nothing: the change fits."""

    @property
    def fits(self) -> bool:
        return not self.reason


def record(*fields: Json, **more: Json) -> Json:
    return {"type": "record", "name": "R", "namespace": "n", "fields": list(fields), **more}


def field(name: str, kind: Json, **more: Json) -> Json:
    return {"name": name, "type": kind, **more}


def enum(*symbols: str, **more: Json) -> Json:
    return {"type": "enum", "name": "E", "symbols": list(symbols), **more}


A = field("a", "int")
INNER = {"type": "record", "name": "Inner", "fields": [field("x", "int")]}
WIDER = {"type": "record", "name": "Inner", "fields": [field("x", "int"), field("y", "int")]}

CASES = [
    Case("a new field with a default", record(A), record(A, field("b", "int", default=0))),
    Case("a new field that may be null", record(A), record(A, field("b", ["null", "int"], default=None))),
    Case("a field with a default goes", record(A, field("b", "int", default=0)), record(A)),
    Case("another order of fields", record(A, field("b", "string")), record(field("b", "string"), A)),
    Case("documentation", record(A), record(A, doc="why")),
    Case("another namespace", record(A), record(A, namespace="m")),
    Case(
        "a logical type",
        record(field("a", "long")),
        record(field("a", {"type": "long", "logicalType": "thousandths"})),
    ),
    Case(
        "a symbol more where a default stands in",
        record(field("a", enum("x", default="x"))),
        record(field("a", enum("x", "y", default="x"))),
    ),
    Case("a new field without default", record(A), record(A, field("b", "int")), "is not there has no default (b)"),
    Case("a field goes that has no default", record(A, field("b", "int")), record(A), "no default (b)"),
    Case("another name", record(A), record(field("z", "int")), "no default (a)"),
    Case("a wider number", record(A), record(field("a", "long")), "int not compatible with writer type: long"),
    Case("text becomes a number", record(field("a", "string")), record(A), "type does not become another"),
    Case("null as well", record(A), record(field("a", ["null", "int"])), "writer type: null"),
    Case(
        "a branch more",
        record(field("a", ["null", "int"])),
        record(field("a", ["null", "int", "string"])),
        "a union lacks a branch",
    ),
    Case("a symbol more", record(field("a", enum("x"))), record(field("a", enum("x", "y"))), "an enum without default"),
    Case(
        "another size",
        record(field("a", {"type": "fixed", "name": "F", "size": 3})),
        record(field("a", {"type": "fixed", "name": "F", "size": 4})),
        "a fixed has another size",
    ),
    Case(
        "a field without default within items",
        record(field("a", {"type": "array", "items": INNER})),
        record(field("a", {"type": "array", "items": WIDER})),
        "no default (y)",
    ),
    Case("another record", record(A), record(A, name="Q"), "a named type has another name"),
]
"""Old, new, and the reason of a refusal in both directions together (FULL)."""
