"""Random Avro by a seed: schemas, later versions of them, and the bytes of values in every form that is allowed."""

from __future__ import annotations

import struct
from random import Random
from typing import Any

from schemas.avro_schema import Schema
from schemas.varint import encoded

from .mutate import number

_PRIMITIVES = ("boolean", "int", "long", "float", "double", "string", "bytes")
_LATER = {
    "int": ("long", "float", "double"), "long": ("float", "double"), "float": ("double",), "string": ("bytes",),
    "bytes": ("string",),
}  # fmt: skip
_DEFAULTS = (
    ("long", 7), ("string", "näh"), (["null", "string"], None), (["string", "null"], "x"),
    ({"type": "array", "items": "int"}, [1, 2]),
)  # fmt: skip
_TEXTS = ("", "a", "acme/bot", "näh\U0001f916", "x" * 70)


def record(rng: Random, depth: int = 3, name: str = "R") -> dict[str, Any]:
    """A record schema of up to six fields; `name` keeps those of named types apart."""
    fields = [{"name": f"f{n}", "type": _type(rng, depth, f"{name}{n}")} for n in range(rng.randint(1, 6))]
    return {"type": "record", "name": name, "fields": fields}


def _type(rng: Random, depth: int, name: str) -> Any:
    kind = rng.choice(
        ("plain", "plain", "enum", "fixed", "optional", *(("array", "map", "record", "union") * (depth > 0)))
    )
    if kind == "enum":
        return {"type": "enum", "name": name, "symbols": list("ABCDE"[: rng.randint(1, 5)])}
    if kind == "fixed":
        return {"type": "fixed", "name": name, "size": rng.randint(1, 9)}
    if kind == "array":
        return {"type": "array", "items": _type(rng, depth - 1, name)}
    if kind == "map":
        return {"type": "map", "values": _type(rng, depth - 1, name)}
    if kind == "record":
        return record(rng, depth - 1, name)
    plain = rng.choice(_PRIMITIVES)
    if kind == "union":
        return ["null", plain, {"type": "fixed", "name": name, "size": 3}]
    return plain if kind == "plain" else rng.choice((["null", plain], [plain, "null"]))


def later(rng: Random, schema: Any) -> Any:
    """What a type may have become in a version that still reads this one."""
    if isinstance(schema, str):
        schema = rng.choice((schema, schema, *_LATER.get(schema, ())))
        return rng.choice((schema, schema, ["null", schema]))
    if isinstance(schema, list):
        return schema
    if schema["type"] in ("array", "map"):
        part = "items" if schema["type"] == "array" else "values"
        return {**schema, part: later(rng, schema[part])}
    if schema["type"] != "record":
        return schema
    kept = [{**field, "type": later(rng, field["type"])} for field in schema["fields"] if rng.randrange(6)]
    new = [{"name": f"new{n}", "type": kind, "default": value} for n, (kind, value) in enumerate(_DEFAULTS)]
    return {**schema, "fields": rng.sample(kept, len(kept)) + rng.sample(new, rng.randint(0, 2))}


def value(rng: Random, schema: Schema, kind: Any, depth: int = 0) -> bytes:
    """Avro bytes of some value of the type `kind` of `schema`."""
    node = schema.node(kind)
    match node["type"]:
        case "union":
            branch = 0 if depth > 6 else rng.randrange(len(node["branches"]))
            return encoded(branch) + value(rng, schema, node["branches"][branch], depth + 1)
        case "record":
            return b"".join(value(rng, schema, field["type"], depth + 1) for field in node["fields"])
        case "array" | "map":
            return _blocks(rng, schema, node, depth)
        case "enum":
            return encoded(rng.randrange(len(node["symbols"])))
        case "fixed":
            return rng.randbytes(node["size"])
        case simple:
            return _simple(rng, simple)


def _blocks(rng: Random, schema: Schema, node: Any, depth: int) -> bytes:
    """Items in blocks, some of which say how many bytes they take."""
    out = b""
    for _ in range(0 if depth > 6 else rng.randint(0, 2)):
        items = [
            value(rng, schema, node["items"], depth + 1)
            if node["type"] == "array"
            else _text(_words(rng)) + value(rng, schema, node["values"], depth + 1)
            for _ in range(rng.randint(1, 3))
        ]
        data = b"".join(items)
        sized = rng.random() < 0.3
        out += (encoded(-len(items)) + encoded(len(data)) if sized else encoded(len(items))) + data
    return out + b"\0"


def _simple(rng: Random, kind: str) -> bytes:
    if kind in ("string", "bytes"):
        return _text(_words(rng))
    if kind in ("int", "long"):
        return encoded(number(rng) >> (33 if kind == "int" else 0))
    if kind in ("float", "double"):
        made = rng.choice((0.0, -1.5, float("inf"), float("nan")))
        return struct.pack("<f" if kind == "float" else "<d", made)
    return bytes([rng.randrange(2)]) if kind == "boolean" else b""


def _words(rng: Random) -> bytes:
    """UTF-8 of any length: texts are looked at in words of eight bytes."""
    return rng.choice((*_TEXTS, "y" * rng.randrange(24), "z" * rng.randrange(24) + "é")).encode()


def _text(data: bytes) -> bytes:
    return encoded(len(data)) + data
