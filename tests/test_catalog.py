"""Schemas and their numbers: what is committed stays what it meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from schemas import event_types
from schemas.catalog import FIRST_LOCAL_ID, LocalIds, Schema, fingerprint, local_table, schema_named, schema_of
from schemas.event_types import CAUSE_OF_EVENT, CAUSES, SOURCE_TYPES, SOURCES, UNIFIED, EventType
from schemas.topics import TOPICS, TopicError
from streams.pipeline import Lane
from streams.policy import Policy

from .test_admission import event, outcome

SCHEMAS = Path(__file__).parents[1] / "schemas"
FILES = sorted(path.stem for path in (SCHEMAS / "avro").glob("*.avsc"))


def enums(schema: Any) -> dict[str, list[str]]:
    """Symbols of every enum in a schema, by its name."""
    if isinstance(schema, list):
        return {name: symbols for part in schema for name, symbols in enums(part).items()}
    if not isinstance(schema, dict):
        return {}
    found = {schema["name"]: schema["symbols"]} if schema.get("type") == "enum" else {}
    return found | enums(list(schema.values()))


def test_every_topic_has_a_schema_and_every_schema_a_topic() -> None:
    assert {row.schema for row in TOPICS} == {name for name in FILES if ".v" not in name}


@pytest.mark.parametrize("number", local_table())
def test_an_id_of_the_table_never_changes_its_meaning(number: int) -> None:
    row = json.loads((SCHEMAS / "ids.json").read_text())[str(number)]
    assert fingerprint(schema_named(row["schema"])).hex() == row["fingerprint"], (
        f"{row['schema']}.avsc changed: keep its old text as {row['schema']}.vN.avsc for id {number}, add a new id"
    )


def test_every_file_has_one_id_far_above_those_of_registries() -> None:
    table = local_table()
    assert sorted(table.values()) == FILES
    assert list(table) == list(range(FIRST_LOCAL_ID, FIRST_LOCAL_ID + len(table)))
    assert FIRST_LOCAL_ID > 1_000_000_000
    assert max(table) < 1 << 31


def test_local_ids_answer_both_ways() -> None:
    ids = LocalIds()
    for row in TOPICS:
        assert ids.writer_schema(ids.id_of(row.name)) is schema_of(row.name)
    assert ids.writer_schema(1) is None
    with pytest.raises(TopicError, match="no topic 'nothing'"):
        ids.id_of("nothing")


def test_the_fingerprint_sees_what_changes_bytes_and_nothing_else() -> None:
    plain = {"type": "record", "name": "n.R", "fields": [{"name": "a", "type": "int"}]}
    documented = {"doc": "why", "name": "R", "namespace": "n", "type": "record", "fields": plain["fields"]}
    wider = {**plain, "fields": [{"name": "a", "type": "long"}]}
    assert fingerprint(plain) == fingerprint(documented) != fingerprint(wider)
    assert len(fingerprint(plain)) == 32


@pytest.mark.parametrize("stem", FILES)
def test_an_enum_means_the_same_everywhere(stem: str) -> None:
    everywhere = {name: symbols for other in FILES for name, symbols in enums(schema_named(other)).items()}
    for name, symbols in enums(schema_named(stem)).items():
        assert symbols == everywhere[name]


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_names_its_event_types_in_the_order_of_the_table(source: str) -> None:
    (symbols,) = (
        symbols for name, symbols in enums(schema_of(f"{source}.events")).items() if name.endswith("EventType")
    )
    assert symbols == [kind.symbol for kind in SOURCE_TYPES[source]]
    assert [EventType(number).symbol for number in UNIFIED[source]] == symbols


def test_each_event_type_belongs_to_one_source_and_unknown_to_all() -> None:
    owned = [kind for source in SOURCES for kind in SOURCE_TYPES[source][1:]]
    assert owned == list(EventType)[1:]
    assert all(SOURCE_TYPES[source][0] is EventType.UNKNOWN for source in SOURCES)


def test_the_unified_enums_follow_the_numbers() -> None:
    assert enums(schema_of("priority.normal"))["EventType"] == [kind.symbol for kind in EventType]
    assert enums(schema_of("trust.levels"))["Cause"] == list(CAUSES)
    assert enums(schema_of("trust.changes"))["Source"] == list(SOURCES)
    assert CAUSES[CAUSE_OF_EVENT + EventType.AGENT_RETIRED] == "agent_retired"
    assert CAUSES[event_types.CAUSE_CEILING] == "ceiling"
    assert EventType.SECURITY_VIOLATION.label == "security.violation"


@pytest.mark.parametrize("stem", FILES)
def test_an_optional_field_has_a_default_so_that_producers_may_leave_it_out(stem: str) -> None:
    for part in schema_named(stem)["fields"]:
        if isinstance(part["type"], list):
            assert part["type"][0] == "null"
            assert part["default"] is None


NO_SCHEMAS = [
    {"type": "record", "name": "Event", "fields": [{"name": "at", "type": "elsewhere.Moment"}]},
    {"type": ["null", "string"]},
    {"type": "enum", "name": "Mood", "symbols": ["calm"], "default": "wild"},
    {"type": "record", "name": "Event", "fields": 7},
]
"""What a registry may hand out: schemas that name others, unions as a root, and what was never checked."""


@pytest.mark.parametrize("schema", NO_SCHEMAS, ids=str)
def test_what_has_no_canonical_form_has_a_fingerprint_of_its_own(schema: Schema) -> None:
    assert fingerprint(schema) == fingerprint(json.loads(json.dumps(schema)))
    assert len({fingerprint(one) for one in NO_SCHEMAS}) == len(NO_SCHEMAS)


@pytest.mark.parametrize("schema", NO_SCHEMAS, ids=str)
def test_a_record_under_it_is_a_dead_letter_and_its_neighbours_are_decided(schema: Schema) -> None:
    class Registered(LocalIds):
        def writer_schema(self, schema_id: int) -> Schema | None:
            return schema if schema_id == 7 else super().writer_schema(schema_id)

    subject = Lane(0, 0, policy=Policy(), ids=Registered(), build="test")
    assert outcome(subject, event(value=b"\0\0\0\0\7abc"), event()) == ["schema_unresolvable", "decided"]
