"""Schemas that do not fit together, or that were made to do harm, are refused in words and at once."""

from __future__ import annotations

import pytest

from schemas.avro_plan import PlanError, compile_plan, layout
from tests.avro_cases import Json, record


@pytest.mark.parametrize(
    ("writer", "reader", "words"),
    [
        (record(("a", "int")), record(("a", "string")), "field a: written as int, which cannot be read as string"),
        (record(("a", "int")), record(("b", "int")), "field b: the writer does not write it"),
        (record(("a", "int"), name="X"), record(("a", "int"), name="Y"), "record"),
        (record(("a", {"type": "array", "items": "int"})), record(("a", {"type": "array", "items": "bytes"})), "a"),
        ({"type": "long"}, record(), "values are records"),
        ({"type": "record", "name": "R", "fields": [{"name": "a", "type": "nonsense"}]}, record(), "not an Avro"),
    ],
)
def test_schemas_that_do_not_resolve_are_named(writer: Json, reader: Json, words: str) -> None:
    with pytest.raises(PlanError, match=words):
        compile_plan(writer, reader, layout(reader, []))


@pytest.mark.parametrize("name", ["none", "a.b", "a?", "r.none", "r?"])
def test_a_field_that_is_none_is_refused(name: str) -> None:
    schema = record(("a", "int"), ("r", record(("x", "int"), name="S")))
    with pytest.raises(PlanError, match="field"):
        layout(schema, [name])


def test_schemas_nested_beyond_measure_are_refused() -> None:
    kind: Json = "int"
    for _ in range(2000):
        kind = {"type": "array", "items": kind}
    with pytest.raises(PlanError):
        compile_plan(record(("f", kind)), record(), layout(record(), []))


def test_nothing_is_encoded_anew_beside_items_of_no_bytes() -> None:
    """Encoding anew goes item by item, and the value may announce 2^62 of them."""
    endless = ("e", {"type": "array", "items": "null"})
    writer = record(endless, ("f", {"type": "array", "items": "int"}))
    reader = record(("f", {"type": "array", "items": "double"}))
    with pytest.raises(PlanError, match=r"field f: .* could be made to take forever"):
        compile_plan(writer, reader, layout(reader, ["f"]))
    compile_plan(writer, reader, layout(reader, []))
