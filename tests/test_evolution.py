"""What may follow what: released schemas stay readable both ways, and the reason of a refusal is said."""

from __future__ import annotations

import copy
import io
from itertools import combinations
from typing import Any

import fastavro
import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

from connectors.schema_changes import Change, changes, refusals
from connectors.subjects import released, released_refusals
from schemas.catalog import Schema, schema_of
from schemas.topics import TOPICS

from .avro_cases import Json, inlined, parsed, values, write
from .schema_cases import CASES, Case, record

STEMS = sorted({row.schema for row in TOPICS})
PAIRS = [pair for stem in STEMS for pair in combinations(released(stem), 2)]
"""Every two versions of one Avro file, older first."""


def reading(value: Any, writer: Json, reader: Json) -> Any:
    """`value` as `writer` writes it and `reader` reads it, by fastavro."""
    return read(write(writer, value), writer, reader)


def read(written: bytes, writer: Json, reader: Json) -> Any:
    return fastavro.schemaless_reader(io.BytesIO(written), parsed(writer), parsed(reader))


def unreadable(value: Any, writer: Json, reader: Json) -> bool:
    written = write(writer, value)
    try:
        read(written, writer, reader)
    except (fastavro.read.SchemaResolutionError, ValueError):
        return True
    return False


def common(one: Any, other: Any) -> bool:
    """Whether two readings say the same wherever both say something."""
    if isinstance(one, dict) and isinstance(other, dict):
        return all(common(one[name], other[name]) for name in one.keys() & other.keys())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(common, one, other))
    return bool(one == other)


def test_more_than_one_version_was_released() -> None:
    assert [(old, new) for (old, _), (new, _) in PAIRS] == [("agent_state.v1", "agent_state")]


@pytest.mark.parametrize("row", TOPICS, ids=lambda row: row.name)
def test_no_schema_contradicts_what_was_released_before_it(row: Any) -> None:
    assert released_refusals(row) == []


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair[0][0]} and {pair[1][0]}")
@given(data=st.data())
def test_programs_of_both_ages_read_each_other(pair: Any, data: st.DataObject) -> None:
    old, new = ({**schema, "namespace": ""} for _, schema in pair)  # branches are named without it
    for writer, reader in ((old, new), (new, old)):
        value = data.draw(values(inlined(writer)))
        assert common(reading(value, writer, writer), reading(value, writer, reader))


@pytest.mark.parametrize("name", [row.name for row in TOPICS])
def test_a_field_that_readers_need_may_not_go_from_any_schema(name: str) -> None:
    new = copy.deepcopy(schema_of(name))
    gone = next((field for field in new["fields"] if "default" not in field), None)
    if gone is None:
        new["fields"].append({"name": "needed", "type": "int"})
        (reason,) = refusals(schema_of(name), new, "1.0")
        assert reason == "it cannot read what 1.0 wrote: a field that is not there has no default (needed)"
    else:
        new["fields"].remove(gone)
        (reason,) = refusals(schema_of(name), new, "1.0")
        assert reason == f"1.0 cannot read what it writes: a field that is not there has no default ({gone['name']})"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.about)
def test_a_change_is_refused_with_its_reason(case: Case) -> None:
    told = " ".join(refusals(case.old, case.new, "1.0"))
    assert case.reason in told
    assert bool(told) != case.fits


@pytest.mark.parametrize("case", [case for case in CASES if case.fits], ids=lambda case: case.about)
@given(data=st.data())
def test_what_fits_is_readable_both_ways(case: Case, data: st.DataObject) -> None:
    for writer, reader in ((case.old, case.new), (case.new, case.old)):
        assert not unreadable(data.draw(values(writer)), writer, reader)


@pytest.mark.parametrize("case", [case for case in CASES if not case.fits], ids=lambda case: case.about)
def test_what_does_not_fit_has_a_value_that_is_not_readable(case: Case) -> None:
    quick = settings(max_examples=200, suppress_health_check=list(HealthCheck), database=None)
    both = st.one_of(
        values(case.old).map(lambda value: (value, case.old, case.new)),
        values(case.new).map(lambda value: (value, case.new, case.old)),
    )
    assert find(both, lambda told: unreadable(*told), settings=quick)


@pytest.mark.parametrize("default", ["many", 1.5, None])
def test_a_default_of_another_type_makes_no_schema(default: Json) -> None:
    new = record({"name": "a", "type": "int"}, {"name": "b", "type": "int", "default": default})
    (reason,) = refusals(record({"name": "a", "type": "int"}), new, "1.0")
    assert reason.startswith("it is no Avro schema: ")


def test_differences_are_told_field_by_field() -> None:
    old: Schema = {
        "type": "record",
        "name": "R",
        "fields": [
            {"name": "gone", "type": "long"},
            {"name": "kind", "type": {"type": "enum", "name": "K", "symbols": ["a"]}},
            {"name": "items", "type": {"type": "array", "items": {"type": "record", "name": "I", "fields": []}}},
        ],
    }
    new = copy.deepcopy(old)
    del new["fields"][0]
    new["fields"][0]["type"] |= {"symbols": ["a", "b"], "default": "a"}
    new["fields"][1]["type"]["items"]["fields"] = [{"name": "x", "type": ["null", "int"], "default": None}]
    assert [str(change) for change in changes(old, new)] == [
        "~ kind: enum K (a) -> enum K (a, b, default a)",
        "+ items[].x: null or int, default null",
        "- gone: long",
    ]
    assert changes(old, copy.deepcopy(old)) == []


def test_what_is_no_field_is_told_of_the_whole() -> None:
    schema = schema_of("trust.levels")
    documented, turned = {**schema, "doc": "else"}, {**schema, "fields": schema["fields"][::-1]}
    assert changes(schema, documented) == [Change("the whole", "", "other texts of documentation")]
    assert changes(schema, turned) == [Change("the whole", "", "another order of fields")]
