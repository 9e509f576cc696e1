"""Random Avro for the tests: schemas, values as fastavro reads and writes them, and their bytes in a buffer."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Any

import fastavro
import numpy as np
from hypothesis import strategies as st

from schemas.columns import Bytes, Frame, Longs

Json = Any
PRIMITIVES = ["null", "boolean", "int", "long", "float", "double", "string", "bytes"]


@dataclass
class Names:
    """Numbers the named types of one schema."""

    used: int = 0

    def new(self, kind: str) -> str:
        """A name that the schema does not have yet."""
        self.used += 1
        return f"{kind}{self.used}"


@st.composite
def types(draw: st.DrawFn, names: Names, depth: int = 2, union: bool = True) -> Json:
    """A type of any kind; named types are new ones each time."""
    kinds = ["primitive"] * 3 + ["enum", "fixed"]
    if depth:
        kinds += ["array", "map", "record"] + (["optional", "optional", "union"] if union else [])
    kind = draw(st.sampled_from(kinds))
    if kind == "enum":
        symbols = draw(st.lists(st.sampled_from("ABCDEFG"), min_size=1, max_size=5, unique=True))
        return {"type": "enum", "name": names.new("E"), "symbols": symbols}
    if kind == "fixed":
        return {"type": "fixed", "name": names.new("F"), "size": draw(st.integers(0, 9))}
    if kind == "array":
        return {"type": "array", "items": draw(types(names, depth - 1))}
    if kind == "map":
        return {"type": "map", "values": draw(types(names, depth - 1))}
    if kind == "record":
        return draw(records(names, depth - 1))
    if kind == "optional":
        inner = draw(types(names, depth - 1, False).filter(lambda schema: schema != "null"))
        return draw(st.sampled_from([["null", inner], [inner, "null"]]))
    if kind == "union":
        return draw(st.lists(types(names, depth - 1, False), min_size=1, max_size=4, unique_by=branch_key))
    return draw(st.sampled_from(PRIMITIVES))


def branch_key(schema: Json) -> str:
    """What must be unique among the branches of a union (named types are: each is new)."""
    if isinstance(schema, str):
        return schema
    return str(schema.get("name", schema["type"]))


@st.composite
def records(draw: st.DrawFn, names: Names, depth: int = 3) -> Json:
    """A record of up to six fields."""
    fields = draw(st.lists(types(names, depth), min_size=0, max_size=6))
    return {
        "type": "record",
        "name": names.new("R"),
        "fields": [{"name": f"f{number}", "type": schema} for number, schema in enumerate(fields)],
    }


def leaves(schema: Json, prefix: str = "") -> list[str]:
    """Dotted names of all fields, down to where records end; with the presence of nullable ones."""
    found = []
    for field in schema["fields"]:
        name, kind = prefix + field["name"], field["type"]
        if isinstance(kind, list) and len(kind) == 2 and "null" in kind:
            kind = next(branch for branch in kind if branch != "null")
            if isinstance(kind, dict) and kind["type"] == "record":
                found.append(name + "?")
        inner = leaves(kind, name + ".") if isinstance(kind, dict) and kind["type"] == "record" else [name]
        found += inner
    return found


def record(*fields: tuple[str, Json], name: str = "R") -> Json:
    """A record schema of these fields."""
    return {"type": "record", "name": name, "fields": [{"name": field, "type": kind} for field, kind in fields]}


def values(schema: Json) -> st.SearchStrategy[Any]:
    """Values of a type, in the form that fastavro writes; a union's as (branch, value) where it needs telling."""
    if isinstance(schema, list):
        return st.one_of([_branch(branch) for branch in schema])
    kind = schema if isinstance(schema, str) else schema["type"]
    if kind == "enum":
        return st.sampled_from(schema["symbols"])
    if kind == "fixed":
        return st.binary(min_size=schema["size"], max_size=schema["size"])
    if kind == "array":
        return st.lists(values(schema["items"]), max_size=4)
    if kind == "map":
        return st.dictionaries(st.text(max_size=4), values(schema["values"]), max_size=3)
    if kind == "record":
        return st.fixed_dictionaries({field["name"]: values(field["type"]) for field in schema["fields"]})
    return SIMPLE[kind]


def _branch(schema: Json) -> st.SearchStrategy[Any]:
    kind = schema if isinstance(schema, str) else schema.get("name", schema["type"])
    return values(schema).map(lambda value: (kind, value)) if kind != "null" else st.none()


SIMPLE: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": st.integers(-(1 << 31), (1 << 31) - 1),
    "long": st.integers(-(1 << 63), (1 << 63) - 1),
    "float": st.floats(width=32, allow_nan=False),
    "double": st.floats(allow_nan=False),
    "string": st.text(max_size=12),
    "bytes": st.binary(max_size=12),
}


def parsed(schema: Json) -> Json:
    """The schema as fastavro wants it."""
    return fastavro.parse_schema(json.loads(json.dumps(schema)))


def write(schema: Json, value: Any) -> bytes:
    """Avro bytes, by fastavro."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, parsed(schema), value)
    return out.getvalue()


def read(data: bytes, writer: Json, reader: Json | None = None) -> Any:
    """What fastavro reads; EOFError for bytes left over."""
    source = io.BytesIO(data)
    value = fastavro.schemaless_reader(source, parsed(writer), parsed(reader) if reader else None)
    if source.read(1):
        raise EOFError("bytes left over")
    return value


def spans(parts: list[bytes]) -> tuple[Bytes, Longs, Longs]:
    """The parts in one buffer that begins and ends with other bytes: buffer, starts, lengths."""
    lengths = np.array([len(part) for part in parts], np.int64)
    starts = np.concatenate(([3], 3 + np.cumsum(lengths)))[:-1].astype(np.int64)
    return np.frombuffer(b"\x01\x02\x03" + b"".join(parts) + b"\x04", np.uint8), starts, lengths


def cell(frame: Frame, name: str, i: int) -> Any:
    """What a frame says of one field: None, int, float or bytes."""
    column = frame.layout.by_name[name]
    if column.kind == "span":
        return frame.bytes(name, i)
    if column.nullable and not frame.second(name)[i]:
        return None
    return float(frame.doubles(name)[i]) if column.kind == "double" else int(frame[name][i])


def inlined(schema: Json, seen: dict[str, Json] | None = None) -> Json:
    """The schema with each type in full where it is used; for `values`, not for Avro."""
    seen = {} if seen is None else seen
    if isinstance(schema, str):
        return seen.get(schema, schema)
    if isinstance(schema, list):
        return [inlined(branch, seen) for branch in schema]
    whole = {**schema}
    if "name" in schema:
        seen[schema["name"]] = whole
    for part in ("items", "values"):
        if part in schema:
            whole[part] = inlined(schema[part], seen)
    if "fields" in schema:
        whole["fields"] = [{**field, "type": inlined(field["type"], seen)} for field in schema["fields"]]
    return inlined(schema["type"], seen) if isinstance(schema["type"], dict) else whole
