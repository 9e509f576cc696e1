"""Columnar Avro says of every value what fastavro says of it, whatever became of the schema, and survives any bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from schemas import avro_decode
from schemas.avro_decode import decode, frame_ids
from schemas.avro_layout import find
from schemas.avro_plan import PlanError, compile_plan, layout
from schemas.avro_schema import Schema
from schemas.columns import Column, Frame
from schemas.reasons import Reason
from tests import avro_cases as cases
from tests.avro_cases import Json, cell, leaves, read, record, spans, values, write

HEADER = b"\0\0\0\0\7"
UNDECODABLE = int(Reason.UNDECODABLE)


def decoded(writer: Json, reader: Json, fields: list[str], parts: list[bytes]) -> tuple[Frame, list[int]]:
    """Decode all parts (without header): the frame, and each one's error."""
    plan = compile_plan(writer, reader, layout(reader, fields))
    buf, starts, lengths = spans([HEADER + part for part in parts])
    frame = plan.layout.frame(len(parts), buf)
    frame.matrix[:] = -12345
    error = np.zeros(len(parts), np.int64)
    decode(plan, buf, starts, lengths, np.arange(len(parts)), frame, error)
    return frame, error.tolist()


def one(writer: Json, reader: Json, fields: list[str], part: bytes) -> dict[str, Any] | None:
    """The fields of one value; None when it does not decode."""
    frame, error = decoded(writer, reader, fields, [part])
    return None if error[0] else {name: cell(frame, name, 0) for name in fields}


def expected(schema: Json, name: str, value: Any) -> Any:
    """What the column `name` must say of a record that fastavro read as `value`, encoded bytes told as the value."""
    field = find(Schema(schema), name)
    for part in name.removesuffix("?").split("."):
        value = None if value is None else value[part]
    if name.endswith("?"):
        return int(value is not None)
    parsed = Schema(schema)
    optional = parsed.optional(field.schema)
    node = optional[1] if optional else parsed.node(field.schema)
    if value is None or node["type"] not in ("enum", "string", "boolean"):
        return value
    if node["type"] == "enum":
        return node["symbols"].index(value)
    return value.encode() if node["type"] == "string" else int(value)


def shown(schema: Json, name: str, got: Any) -> Any:
    """What a column says, spans of encoded bytes decoded by fastavro."""
    parsed = Schema(schema)
    field = find(parsed, name)
    optional = parsed.optional(field.schema)
    node = optional[1] if optional else parsed.node(field.schema)
    if got is None or field.presence or node["type"] not in ("array", "map", "union", "record"):
        return got
    inner = node["branches"] if node["type"] == "union" else node
    return read(got, {"type": "record", "name": "Wrap", "fields": [{"name": "it", "type": inner}]})["it"]


@st.composite
def schema_and_values(draw: st.DrawFn) -> tuple[Json, list[Any]]:
    """A record schema and some of its values."""
    schema = draw(cases.records(cases.Names()))
    return schema, draw(st.lists(values(schema), min_size=1, max_size=4))


@settings(max_examples=100, deadline=None)
@given(schema_and_values(), st.data())
def test_columns_are_what_fastavro_reads(case: tuple[Json, list[Any]], data: st.DataObject) -> None:
    schema, items = case
    names = leaves(schema)
    fields = data.draw(st.lists(st.sampled_from(names), unique=True)) if names else []
    parts = [write(schema, item) for item in items]
    frame, error = decoded(schema, schema, fields, parts)
    assert not any(error)
    for i, part in enumerate(parts):
        truth = read(part, schema)
        for name in fields:
            assert shown(schema, name, cell(frame, name, i)) == expected(schema, name, truth), name


PROMOTED = {
    "int": ["long", "float", "double"],
    "long": ["float", "double"],
    "float": ["double"],
    "string": ["bytes"],
    "bytes": ["string"],
}
DEFAULTS: list[tuple[Json, Any]] = [
    ("long", 7), ("double", 1.5), ("string", "näh"), ("bytes", "\u00ff"), ("boolean", True), (["null", "string"], None),
    (["string", "null"], "x"), ({"type": "map", "values": "long"}, {"a": 1}), ({"type": "array", "items": "int"}, []),
    ({"type": "enum", "name": "Added", "symbols": ["P", "Q"]}, "Q"),
    ({"type": "record", "name": "AddedR", "fields": [{"name": "y", "type": "int"}]}, {"y": 3}),
    (["null", {"type": "record", "name": "AddedN", "fields": [{"name": "y", "type": "int"}]}], None),
    (["int", "string", "null"], 5),
]  # fmt: skip


@st.composite
def later(draw: st.DrawFn, schema: Json) -> Json:
    """What a type may have become in a later version that still reads the earlier one."""
    if isinstance(schema, list):
        return [draw(later(branch)) if isinstance(branch, dict) else branch for branch in schema]
    if isinstance(schema, str):
        schema = draw(st.sampled_from([schema, *PROMOTED.get(schema, [])]))
        return draw(st.sampled_from([schema, ["null", schema], [schema, "null"]])) if schema != "null" else schema
    if schema["type"] == "enum":
        symbols = draw(st.lists(st.sampled_from("ABCDEFGH"), min_size=1, unique=True))
        return {**schema, "symbols": symbols, **draw(st.sampled_from([{}, {"default": symbols[0]}]))}
    if schema["type"] in ("array", "map"):
        part = "items" if schema["type"] == "array" else "values"
        return {**schema, part: draw(later(schema[part]))}
    return draw(later_record(schema)) if schema["type"] == "record" else schema


@st.composite
def later_record(draw: st.DrawFn, schema: Json) -> Json:
    """A record of which fields left, came, moved, were renamed, or have later types."""
    fields = []
    for field in schema["fields"]:
        change = draw(st.sampled_from(["keep", "keep", "keep", "rename", "drop"]))
        kept = {"name": field["name"], "type": draw(later(field["type"]))}
        if change == "rename":
            kept = {**kept, "name": "new_" + field["name"], "aliases": [field["name"]]}
        if change != "drop":
            fields.append(kept)
    return {**schema, "fields": draw(st.permutations(fields))}


def with_new_fields(schema: Json, added: list[tuple[Json, Any]]) -> Json:
    """The record with fields that the writer did not know."""
    new = [{"name": f"added{k}", "type": kind, "default": value} for k, (kind, value) in enumerate(added)]
    return {**schema, "fields": schema["fields"] + new}


def alike(got: Any, value: Any) -> bool:
    """Equal, within encoded bytes also as floats of 32 bits, or as the string that was written into a union.

    (fastavro reads a string written as one of ["bytes", "string"] as bytes: the first of the reader's that would do.)
    """
    if isinstance(got, dict) and isinstance(value, dict):
        return got.keys() == value.keys() and all(alike(got[key], value[key]) for key in got)
    if isinstance(got, list) and isinstance(value, list):
        return len(got) == len(value) and all(map(alike, got, value))
    if isinstance(got, float) and isinstance(value, (int, float)) and got != value:
        return bool(np.float32(got) == np.float32(value))
    return bool(got == value) or (isinstance(got, str) and got.encode() == value)


def only(schema: Json, fields: list[str]) -> Json:
    """The record with those of its own fields alone that are asked for."""
    wanted = {name.removesuffix("?").split(".")[0] for name in fields}
    return {**schema, "fields": [field for field in schema["fields"] if field["name"] in wanted]}


@settings(max_examples=120, deadline=None)
@given(schema_and_values(), st.data())
def test_a_later_reader_reads_as_fastavro_does(case: tuple[Json, list[Any]], data: st.DataObject) -> None:
    writer, items = case
    added = data.draw(st.lists(st.sampled_from(DEFAULTS), max_size=3, unique_by=str))
    reader = with_new_fields(data.draw(later_record(writer)), added)
    whole = sorted({name.removesuffix("?").split(".")[0] for name in leaves(reader)})
    chosen = data.draw(st.lists(st.sampled_from(whole), unique=True)) if whole else []
    fields = [name for name in leaves(reader) if name.removesuffix("?").split(".")[0] in chosen]
    parts = [write(writer, item) for item in items]
    try:
        frame, error = decoded(writer, reader, fields, parts)
    except PlanError as refusal:
        assume("take forever" not in str(refusal))
        raise
    for i, part in enumerate(parts):
        try:
            truth = read(part, writer, only(reader, fields))
        except Exception:
            assert error[i] == UNDECODABLE
            continue
        assert not error[i]
        for name in fields:
            value = expected(reader, name, truth)
            if name.startswith("added") and isinstance(value, str):  # fastavro hands on the default of bytes as it is
                value = value.encode("latin-1")
            assert alike(shown(reader, name, cell(frame, name, i)), value), name


@settings(max_examples=80, deadline=None)
@given(schema_and_values(), st.data())
def test_damaged_bytes_are_refused_and_never_read_past_their_end(
    case: tuple[Json, list[Any]], data: st.DataObject
) -> None:
    schema, items = case
    whole = write(schema, items[0])
    part = data.draw(
        st.one_of(
            st.binary(max_size=60),
            st.integers(0, max(len(whole) - 1, 0)).map(lambda cut: whole[:cut]),
            st.binary(min_size=1, max_size=3).map(lambda more: whole + more),
        )
    )
    fields = leaves(schema)
    frame, error = decoded(schema, schema, fields, [whole, part, whole])
    assert error[0] == error[2] == 0
    first = frame.matrix[:, 0].copy()
    again, _ = decoded(schema, schema, fields, [whole])
    assert (first == again.matrix[:, 0]).all()
    if not error[1]:
        truth = read(part, schema)
        for name in fields:
            got = shown(schema, name, cell(frame, name, 1))
            assert repr(got) == repr(expected(schema, name, truth)), name
    else:
        assert all(cell(frame, name, 1) in (None, 0, 0.0) for name in fields)


@settings(max_examples=30, deadline=None)
@given(schema_and_values(), st.binary(max_size=40))
def test_the_compiled_loop_equals_the_plain_one(case: tuple[Json, list[Any]], junk: bytes) -> None:
    schema, items = case
    fields = leaves(schema)
    plan = compile_plan(schema, schema, layout(schema, fields))
    buf, starts, lengths = spans([HEADER + write(schema, item) for item in items] + [HEADER + junk, b"\0"])
    n = len(starts)
    results = []
    for loop in (avro_decode._decode, avro_decode._decode.py_func):
        matrix, error = np.zeros((plan.layout.rows, n), np.int64), np.zeros(n, np.int64)
        with np.errstate(all="ignore"):
            loop(plan.code, plan.tables, buf, starts, lengths, np.arange(n), 5, len(buf), matrix, error)
        results.append((matrix.tolist(), error.tolist()))
    assert results[0] == results[1]


LIST = record(("value", "int"), ("next", ["null", "Node"]), name="Node")


def chain(length: int) -> Any:
    """A linked list."""
    return None if not length else {"value": length, "next": chain(length - 1)}


def test_recursive_types_are_skipped_and_spanned_to_a_bounded_depth() -> None:
    schema = record(("before", "int"), ("list", LIST), ("after", "int"))
    deep = {"before": 1, "list": chain(40), "after": 2}
    got = one(schema, schema, ["list", "after"], write(schema, deep))
    assert got is not None
    assert got["after"] == 2
    assert read(got["list"], LIST) == chain(40)
    assert one(schema, schema, ["after"], write(schema, {**deep, "list": chain(80)})) is None


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        pytest.param("long", b"\xff" * 9 + b"\x02", id="a number of more than 64 bits"),
        pytest.param("long", b"\x80" * 10 + b"\x00", id="a number of more than ten bytes"),
        pytest.param("int", write(record(("f", "long")), {"f": 1 << 31}), id="an int of more than 32 bits"),
        pytest.param("boolean", b"\x02", id="a boolean that is neither 0 nor 1"),
        pytest.param("string", b"\x04\xc3(", id="text that is not UTF-8"),
        pytest.param("string", b"\x01", id="a negative length"),
        pytest.param("string", b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", id="a length near 2^63"),
        pytest.param({"type": "enum", "name": "E", "symbols": ["A"]}, b"\x02", id="an index beyond the symbols"),
        pytest.param({"type": "enum", "name": "E", "symbols": ["A"]}, b"\x01", id="a negative index"),
        pytest.param(["null", "int"], b"\x04", id="a branch beyond the union"),
        pytest.param(["null", "int"], b"\x01", id="a negative branch"),
        pytest.param(["int", "string", "null"], b"\x06", id="a branch beyond three"),
        pytest.param({"type": "array", "items": "int"}, b"\x0a\x00\x00", id="more items announced than bytes"),
        pytest.param({"type": "array", "items": "int"}, b"\x03\x02\x00\x00\x00", id="a block longer than it says"),
        pytest.param({"type": "array", "items": "int"}, b"\x03\x06\x00\x00\x00", id="a block shorter than it says"),
        pytest.param({"type": "array", "items": "int"}, b"\x03\x01\x00\x00\x00", id="a block of negative size"),
        pytest.param(
            {"type": "array", "items": "int"}, b"\xff" * 9 + b"\x01\x00\x00", id="the most negative count of items"
        ),
    ],
)
def test_bytes_that_are_no_value_of_their_type_are_refused(kind: Json, part: bytes) -> None:
    schema = record(("f", kind))
    assert one(schema, schema, ["f"], part) is None


def test_blocks_with_a_size_and_several_blocks_are_read() -> None:
    schema = record(("f", {"type": "array", "items": "int"}), ("g", "int"))
    assert one(schema, schema, ["g"], b"\x03\x04\x02\x04" + b"\x02\x06" + b"\x00" + b"\x0e") == {"g": 7}


def test_items_of_no_bytes_cost_nothing_however_many_there_are() -> None:
    schema = record(("f", {"type": "array", "items": "null"}), ("g", "int"))
    many = b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"
    assert one(schema, schema, ["g"], many + b"\x00\x0e") == {"g": 7}


def test_fields_under_a_null_record_are_null() -> None:
    schema = record(("s", ["null", record(("a", "int"), ("b", ["null", "string"]), name="S")]))
    fields = ["s?", "s.a", "s.b"]
    assert one(schema, schema, fields, write(schema, {"s": None})) == {"s?": 0, "s.a": None, "s.b": None}
    there = write(schema, {"s": {"a": 0, "b": None}})
    assert one(schema, schema, fields, there) == {"s?": 1, "s.a": 0, "s.b": None}


def test_a_field_below_two_records_keeps_its_place_in_a_wider_frame() -> None:
    schema = record(("a", "int"), ("b", "string"))
    plan = compile_plan(schema, schema, layout(schema, ["b"]))
    buf, starts, lengths = spans([HEADER + write(schema, {"a": 1, "b": "x"})])
    wide = plan.layout.extend([Column("more", "long")])
    frame = wide.frame(1, buf)
    decode(plan, buf, starts, lengths, np.arange(1), frame, np.zeros(1, np.int64))
    assert frame.bytes("b", 0) == b"x"
    with pytest.raises(ValueError, match="another layout"):
        decode(plan, buf, starts, lengths, np.arange(1), layout(schema, ["a"]).frame(1, buf), np.zeros(1, np.int64))


def test_only_selected_values_are_decoded() -> None:
    schema = record(("a", "int"))
    plan = compile_plan(schema, schema, layout(schema, ["a"]))
    buf, starts, lengths = spans([HEADER + write(schema, {"a": a}) for a in (5, 6, 7)])
    frame = plan.layout.frame(3, buf)
    frame.matrix[:] = 0
    decode(plan, buf, starts, lengths, np.array([2, 0]), frame, np.zeros(3, np.int64))
    assert frame["a"].tolist() == [5, 0, 7]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, Reason.NO_VALUE),
        (b"", Reason.EMPTY_VALUE),
        (b"\x01\0\0\0\1", Reason.BAD_MAGIC),
        (b"\x01", Reason.BAD_MAGIC),
        (b"\0\0\0\1", Reason.TRUNCATED),
        (b"\0\0\1\0\2x", Reason.OK),
        (b"\0\xff\0\0\2", Reason.OK),
    ],
)
def test_the_frame_of_a_value_names_its_schema(value: bytes | None, reason: Reason) -> None:
    buf, starts, lengths = spans([value or b""])
    if value is None:
        lengths[0] = -1
    error = np.zeros(1, np.int64)
    ids = frame_ids(buf, starts, lengths, error)
    assert error[0] == reason
    assert ids[0] == (-1 if reason or value is None else int.from_bytes(value[1:5], "big"))


def test_an_earlier_error_stays_and_its_value_is_not_looked_at() -> None:
    buf, starts, lengths = spans([b"\0\0\0\0\1"])
    error = np.array([int(Reason.BAD_KEY)])
    assert frame_ids(buf, starts, lengths, error).tolist() == [-1]
    assert error.tolist() == [int(Reason.BAD_KEY)]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=24))
def test_texts_are_refused_exactly_when_python_refuses_them(text: bytes) -> None:
    schema = record(("f", "string"))
    got = one(schema, schema, ["f"], bytes([2 * len(text)]) + text)
    try:
        text.decode()
    except UnicodeDecodeError:
        assert got is None
    else:
        assert got == {"f": text}


def test_schemas_made_to_take_forever_are_planned_at_once() -> None:
    """A hundred levels, each of which holds the next one twice."""
    kind: Json = record(name="L0")
    for level in range(1, 100):
        kind = record(("one", kind), ("two", f"L{level - 1}"), name=f"L{level}")
    schema = record(("many", {"type": "array", "items": kind}), ("single", "L50"), ("after", "int"))
    assert one(schema, schema, ["after"], b"\x80\x80\x80\x01\x00\x0e") == {"after": 7}
